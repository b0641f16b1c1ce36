"""Classes as a user has them in a file of his own, and one thing that is none."""

import lightning as L
from lightning.pytorch.profilers import SimpleProfiler

from mnist_lab.data import MNISTDataModule
from mnist_lab.models import Classifier


class Model(Classifier):
    """A model."""


class Data(MNISTDataModule):
    """A data set."""


class Callback(L.Callback):
    """A callback."""


class Profiler(SimpleProfiler):
    """A profiler."""


def function(**_: object) -> Callback:
    """Return what may be built, which cannot be known before the call."""
    raise AssertionError("called")
