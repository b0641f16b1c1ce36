"""Callbacks that watch a run: TensorBoard images; the progress display is training/progress.py."""

from mnist_lab.callbacks.pictures import Pictures
from mnist_lab.training.progress import Progress

__all__ = ["Pictures", "Progress"]
