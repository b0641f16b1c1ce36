"""Paths in a config: what they are relative to, and how they are stored so that a run can be moved.

A path that is typed, or stands in a file of choices, is relative to the folder in which the command
was typed; it is made absolute when the config is composed. In a run's config.yaml the run's own
directory is ``.``, and a path in it ``./x``; other text that looks so has one ``./`` more.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, flag_override

from mnist_lab.config.allowlist import find
from mnist_lab.errors import ConfigError, InputError, printable

_GROUPS = ("data", "logger", "callbacks", "trainer")
_RUNS = ("${run_dir}", "${hydra:")
_KEYS = ("data.root", "init_from")
_PATHS = (*_KEYS, "default_root_dir", "dirpath", "save_dir")  # a key, or the end of one


def make_absolute(config: DictConfig) -> None:
    """Make the relative paths of a composed config absolute, and ``~`` the user's home.

    Hydra's own, the directories of a run and of a sweep, stay relative where they are.

    Raises:
        ConfigError: a path has what Hydra takes for an interpolation.
    """
    folder = os.getcwd()
    check_path("the current folder", folder)
    for mode in ("run", "sweep"):
        node: Any = OmegaConf.to_container(config.hydra[mode])
        place = node.get("dir")
        if isinstance(place, str) and place.startswith("~"):
            with flag_override(config.hydra, "readonly", False):
                config.hydra[mode].dir = os.path.expanduser(place)
    plain: Any = OmegaConf.to_container(OmegaConf.masked_copy(config, [*_GROUPS, "init_from"]))
    for name in _PATHS:
        group, _, end = name.rpartition(".")
        for key, text, _ in find(plain.get(group) if group else plain, end, group):
            if not isinstance(text, str) or "://" in text or (name in _KEYS and key != name):
                continue
            if any(start in text for start in _RUNS):  # in the run's directory, without a name yet
                continue
            path = str(OmegaConf.select(config, key))
            check_path(key, path)
            if not os.path.isabs(path):
                home = os.path.expanduser(path)
                absolute = os.path.join(folder, text) if home == path else home
                OmegaConf.update(config, key, absolute)


def check_source(config: DictConfig) -> None:
    """Refuse to begin with the weights of a run that is not there.

    Raises:
        InputError: there is no file or folder of the name.
    """
    if config.init_from is not None and not os.path.exists(config.init_from):
        raise InputError(
            f"init_from={config.init_from}: no such file or folder; give a run's directory, or a "
            "checkpoint"
        )


def check_path(name: str, path: str) -> None:
    """Refuse a path that no config can hold.

    Raises:
        ConfigError: it has what Hydra takes for an interpolation.
    """
    if "${" in path:
        raise ConfigError(f"{name}={path}: must be a path without ${{, which Hydra would resolve")


def check_place(name: str, path: str) -> None:
    """Refuse a directory for runs that no config can hold, or that has no name.

    Raises:
        ConfigError: it is empty, as a variable of the shell may be, or ``check_path`` refuses it.
    """
    if not path:
        raise ConfigError(f"{name}={path}: must be the name of a directory; . is the current one")
    check_path(name, path)


def check_utf8(path: str, reader: str, instead: str) -> None:
    """Refuse a path whose name is not UTF-8, for a library that requires it, and say what to do.

    Raises:
        ConfigError: a part of it is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{printable(path)}: is not UTF-8, which {reader} requires; {instead}"
        ) from error


def in_run(node: Any, run_dir: Path) -> Any:
    """Return plain values with those that are paths in a run's directory relative to that."""

    def change(text: str) -> str:
        path = Path(text)
        if not path.is_relative_to(run_dir) or ".." in path.parts:
            return text
        return "." if path == run_dir else f"./{path.relative_to(run_dir)}"

    return _changed(node, change)


def stored(node: Any, run_dir: Path) -> Any:
    """Return plain values as a run's config.yaml has them."""
    return in_run(_changed(node, lambda text: re.sub(r"\A\.(?=/|\Z)", "./.", text)), run_dir)


def located(node: Any, run_dir: Path | str) -> Any:
    """Return the values of a run's config.yaml, with the run's own directory where it is now."""

    def change(text: str) -> str:
        if re.match(r"\./\.(/|\Z)", text):
            return text[2:]
        return re.sub(r"\A\.(?=/|\Z)", lambda _: str(run_dir), text)

    return _changed(node, change)


def _changed(node: Any, change: Callable[[str], str]) -> Any:
    if isinstance(node, dict):
        return {key: _changed(value, change) for key, value in node.items()}
    if isinstance(node, list):
        return [_changed(value, change) for value in node]
    return change(node) if isinstance(node, str) else node
