"""MNIST and the sets that share its format; both names are imported on first use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_lab.data.datamodule import MNISTDataModule
    from mnist_lab.data.mnist_files import Split

__all__ = ["MNISTDataModule", "Split"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Split":
        from mnist_lab.data.mnist_files import Split

        return Split
    from mnist_lab.data.datamodule import MNISTDataModule

    return MNISTDataModule
