"""Interpolations in configs: where they are, and a bound on what they stand for."""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import ListConfig, ValueNode
from omegaconf.base import Container
from omegaconf.errors import InterpolationResolutionError

_MAX_RESOLVED = 5_000  # values, or tens of characters, that interpolations give in one pass
_lock = threading.RLock()


def interpolations(node: Container) -> Iterator[str]:
    """Yield the full key of every interpolation."""
    for child in _children(node):
        if child._is_interpolation():
            yield child._get_full_key(None)
        elif isinstance(child, Container):
            yield from interpolations(child)


def _children(node: Container) -> list[Any]:
    if node._is_none() or node._is_missing() or node._is_interpolation():
        return []
    keys: Iterable[Any] = range(len(node)) if isinstance(node, ListConfig) else list(node)
    return [node._get_node(key) for key in keys]


@contextlib.contextmanager
def bounded_interpolations() -> Iterator[None]:
    """Have OmegaConf give up on interpolations that stand for too much."""
    with _lock:  # what is replaced here is the class's
        resolve, left = Container.resolve_parse_tree, _MAX_RESOLVED

        def counted(self: Container, *arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1  # before it too: they may be many that give nothing
            if left > 0:
                found = resolve(self, *arguments, **options)
                left -= _size(found)
            if left <= 0:
                raise InterpolationResolutionError("interpolations that stand for too much")
            return found

        Container.resolve_parse_tree = counted  # type: ignore[method-assign]
        try:
            yield
        finally:
            Container.resolve_parse_tree = resolve  # type: ignore[method-assign]


def _size(found: Any) -> int:
    """Return how many values there are, and tens of characters."""
    if isinstance(found, Container):
        return 1 + sum(map(_size, _children(found)))
    if isinstance(found, ValueNode):
        found = found._value()
    return 1 + len(found) // 10 if isinstance(found, str) else 1
