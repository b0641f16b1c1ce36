"""A PyTorch Lightning and Hydra experiment framework for MNIST.

The public names are imported on first use, so that ``import mnist_lab`` costs nothing.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from mnist_lab.training.cores import SPINS, given_cores, usable_cores

if TYPE_CHECKING:
    from mnist_lab.config.compose import compose
    from mnist_lab.data import MNISTDataModule
    from mnist_lab.inference.evaluate import evaluate
    from mnist_lab.inference.predict import predict
    from mnist_lab.models import CNN, MLP, Classifier, SoftmaxRegression
    from mnist_lab.report.plot import plot
    from mnist_lab.training.fit import train
    from mnist_lab.training.stacked.many import train_many

# MKL's strict mode, read when torch first multiplies: all but very small products have the same
# bits alone and in a batch, and on one thread and on several.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
# Threads of GNU's OpenMP, which comes with torch, wait for one another in a loop. Bounded, it lets
# other processes have the core; read when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
if usable_cores() < given_cores():  # which OpenMP does not see
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))

__version__ = "0.2.0"
__all__ = [
    "CNN",
    "MLP",
    "Classifier",
    "MNISTDataModule",
    "SoftmaxRegression",
    "compose",
    "evaluate",
    "plot",
    "predict",
    "train",
    "train_many",
]

_HOMES = {
    "CNN": "models",
    "Classifier": "models",
    "MLP": "models",
    "MNISTDataModule": "data",
    "SoftmaxRegression": "models",
    "compose": "config.compose",
    "evaluate": "inference.evaluate",
    "plot": "report.plot",
    "predict": "inference.predict",
    "train": "training.fit",
    "train_many": "training.stacked.many",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
