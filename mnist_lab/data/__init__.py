"""MNIST and the sets that share its format; both names are imported on first use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_lab.data.datamodule import MNISTDataModule
    from mnist_lab.data.mnist_files import Split

__all__ = ["MNISTDataModule", "Split"]
_MODULES = {"MNISTDataModule": "datamodule", "Split": "mnist_files"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
