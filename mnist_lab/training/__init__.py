"""One run: building its objects, training them, and resuming exactly."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_lab.training.checkpoints.callback import Checkpoint

__all__ = ["Checkpoint"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that a sweep can name its observer without importing torch."""
    if name != "Checkpoint":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mnist_lab.training.checkpoints.callback import Checkpoint

    return Checkpoint
