"""What watches a run."""

from mnist_lab.callbacks.pictures import Pictures
from mnist_lab.callbacks.progress import Progress
from mnist_lab.training.checkpoint_callback import Checkpoint

__all__ = ["Checkpoint", "Pictures", "Progress"]
