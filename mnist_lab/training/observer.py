"""The observer of a run: a sweep that follows it epoch by epoch, and may end it early."""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from mnist_lab.errors import Diverged, Paused, Pruned

if TYPE_CHECKING:
    import lightning as L


class Observer(Protocol):
    """Follows a run; a sweep's trial is one. An observed run shows no progress of its own."""

    def callbacks(self, monitor: str) -> "list[L.Callback]":
        """Return the callbacks that come before all others."""

    def end_epoch(
        self, metrics: Mapping[str, float], epoch: int, monitor: str, is_last: bool = False
    ) -> None:
        """Follow the end of an epoch, counted from 0; ``is_last`` says that none comes after it.

        Raises:
            Diverged: a loss is NaN or infinite.
            Pruned: the run should end early.
            Paused: the run should be saved, and end for now.
        """

    def ended_early(self, error: Diverged | Paused | Pruned) -> None:
        """Record that the run has ended by what ``end_epoch`` raised."""

    def finished(self, metrics: Mapping[str, float]) -> None:
        """Record the result of the run."""


_current: ContextVar[Observer | None] = ContextVar("observer", default=None)


def current_observer() -> Observer | None:
    """Return the observer of the run in this context; None for a run on its own."""
    return _current.get()


@contextlib.contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Have an observer follow the run that is trained within."""
    token = _current.set(observer)
    try:
        yield
    finally:
        _current.reset(token)
