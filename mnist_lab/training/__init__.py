"""One run: building its objects, training them, and resuming exactly."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_lab.training.checkpoints.callback import Checkpoint
    from mnist_lab.training.phases import Phases

__all__ = ["Checkpoint", "Phases"]
_HOMES = {"Checkpoint": "checkpoints.callback", "Phases": "phases"}


def __getattr__(name: str) -> Any:
    """Import on first use, so that a sweep can name its observer without importing torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
