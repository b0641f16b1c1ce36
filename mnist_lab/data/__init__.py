"""MNIST and the sets that share its format."""

from mnist_lab.data.datamodule import MNISTDataModule

__all__ = ["MNISTDataModule"]
