"""Old names of keys, choices and classes, what they are called now, and keys that are new.

One table for what is stored and what is typed. A stored directory is read with old names for good:
the config and manifest of a run, and the command and identity of a sweep. What is typed, or stands
in a file of the user's own, works until the next version, with one line that says what to write.

Not covered: a key that a sweep varies, in the trials of its study and in their records, so that a
version which renames one cannot resume the searches over it; and a model's arguments, which its
checkpoint holds, so that a model goes on taking an argument that it has renamed.
"""

import functools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mnist_lab import __version__
from mnist_lab.config.allowlist import TENSORBOARD
from mnist_lab.errors import ConfigError

_log = logging.getLogger(__name__)


class Rename(NamedTuple):
    """A name that has changed.

    Args:
        old: a class, ``mnist_lab.x.Y``; a key, ``optimizer.rate``; or a choice, ``model=linear``.
        new: what it is called now; a key stays where it is and changes its last part alone.
        since: the version that brought the new name, the last one that takes the old, as ``0.2``.
    """

    old: str
    new: str
    since: str


RENAMES = (Rename("mnist_lab.callbacks.Checkpoint", "mnist_lab.training.Checkpoint", "0.2"),)

ADDED: dict[str, Any] = {"protocol": "open", "metrics": {}, "model.noise": 0.0}
"""Keys that a directory of an earlier version lacks, with what its runs had in their place."""
_OF_MLP = ("model.noise",)  # those that no other model has
_REPLACED = {  # a class of Lightning's by the lab's own with the same arguments
    "lightning.pytorch.loggers.TensorBoardLogger": TENSORBOARD
}


def renamed(text: Any) -> Any:
    """Return a stored key, override or class under today's name, and any other value as it is."""
    if isinstance(text, str) and text in _REPLACED:
        return _REPLACED[text]
    for rename in RENAMES:
        if isinstance(text, str) and rename.old in text:
            text = re.sub(_pattern(rename.old), rf"\g<1>{rename.new}", text)
    return text


def renamed_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored values by dotted keys under today's names, those of classes too."""
    return {renamed(key): renamed(value) for key, value in values.items()}


def with_added(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's values by dotted keys, with those of ``ADDED`` that it lacks."""
    is_mlp = values.get("model._target_") == "mnist_lab.models.MLP"
    return {key: ADDED[key] for key in ADDED if is_mlp or key not in _OF_MLP} | dict(values)


def typed_overrides(texts: Sequence[str]) -> list[str]:
    """Return typed overrides under today's names, and say which are deprecated.

    Raises:
        ConfigError: a name has been deprecated for more than a version.
    """
    _deprecate([name for name in RENAMES for text in texts if re.search(_pattern(name.old), text)])
    return [renamed(text) for text in texts]


def rename_in(plain: Any, package: str = "", is_typed: bool = False) -> bool:
    """Give a config today's names, in place; return whether there were old ones.

    Args:
        plain: the config as builtins.
        package: the keys that lead to it, with dots; empty where it is a whole one.
        is_typed: whether old names are deprecated, as in a file of the user's own.

    Raises:
        ConfigError: as ``typed_overrides``.
    """
    names = list(_rename_in(plain, package))
    _deprecate([rename for rename in RENAMES if is_typed and rename.old in names])
    return bool(names)


def _rename_in(node: Any, path: str) -> Iterator[str]:
    """Rename what is below a path, and yield the old names."""
    for key, value in list(node.items()) if isinstance(node, dict) else ():
        old = f"{path}.{key}".lstrip(".")
        new = renamed(old)
        del node[key]  # and put it back, as their order is a config's
        name = key if new == old else new.rpartition(".")[2]  # a key may have dots of its own
        node[name] = renamed(value) if key == "_target_" else value
        yield from [old] if new != old else []
        yield from [value] if key == "_target_" and renamed(value) != value else []
        yield from _rename_in(value, new)
    for number, value in enumerate(node) if isinstance(node, list) else ():
        yield from _rename_in(value, f"{path}.{number}")


def _pattern(old: str) -> str:
    """Return what finds an old name in a key or an override, its first group what stands before."""
    if old.startswith("mnist_lab."):
        return rf"(^|[^\w.]){re.escape(old)}(?!\w)"
    return rf"^([+~]*(?:hydra\.sweeper\.params\.)?){re.escape(old)}(?=[.=@]|$)"


def _deprecate(renames: Sequence[Rename]) -> None:
    for old, new, since in renames:
        line = f"{old}: is {new} since mnist_lab {since}; write that"
        if [*map(int, __version__.split(".")[:2])] > [*map(int, since.split("."))]:
            raise ConfigError(line)
        _warn(f"{line}, as the next version does not take the old name")


@functools.cache  # a line is said once
def _warn(line: str) -> None:
    _log.warning("%s", line)
