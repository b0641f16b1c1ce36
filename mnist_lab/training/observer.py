"""The observer of a run: a sweep that follows it epoch by epoch, and may end it early."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import lightning as L


class Observer(Protocol):
    """Follows a run; a sweep's trial is one. An observed run shows no progress of its own."""

    def callbacks(self, monitor: str) -> "list[L.Callback]":
        """Return the callbacks that come before all others.

        Args:
            monitor: the run's monitored metric.
        """


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
