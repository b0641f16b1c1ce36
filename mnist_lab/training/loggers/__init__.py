"""Loggers that a killed and resumed run logs each point to once: TensorBoard, MLflow, W&B."""
