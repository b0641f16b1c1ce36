"""Callbacks that draw a run in TensorBoard; those that save or follow it are in training/."""

from mnist_lab.callbacks.pictures import Pictures
from mnist_lab.training.progress import Progress

__all__ = ["Pictures", "Progress"]
