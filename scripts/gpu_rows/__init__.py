"""What scripts/gpu_check does, a part each."""
