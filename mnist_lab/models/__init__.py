"""The models: LightningModules on one abstract Classifier.

They are imported on first use, so that the names in ``arguments`` need no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_lab.models.classifier import Classifier
    from mnist_lab.models.cnn import CNN
    from mnist_lab.models.global_pool_cnn import GlobalPoolCNN
    from mnist_lab.models.mlp import MLP
    from mnist_lab.models.module import Module
    from mnist_lab.models.softmax import SoftmaxRegression

__all__ = ["CNN", "MLP", "Classifier", "GlobalPoolCNN", "Module", "SoftmaxRegression"]

_MODULES = {
    "CNN": "cnn",
    "Classifier": "classifier",
    "GlobalPoolCNN": "global_pool_cnn",
    "MLP": "mlp",
    "Module": "module",
    "SoftmaxRegression": "softmax",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
