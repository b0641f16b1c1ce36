"""One run: building its objects, training them, and resuming exactly."""

from mnist_lab.training.checkpoint_callback import Checkpoint

__all__ = ["Checkpoint"]
