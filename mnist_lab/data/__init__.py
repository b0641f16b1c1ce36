"""MNIST and the sets that share its format; the data module is imported on first use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_lab.data.datamodule import MNISTDataModule

__all__ = ["MNISTDataModule"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mnist_lab.data.datamodule import MNISTDataModule

    return MNISTDataModule
