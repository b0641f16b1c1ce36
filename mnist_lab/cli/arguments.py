"""Parser of a verb's arguments, and checks that several verbs have."""

import argparse
import contextlib
import os
import re
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mnist_lab.errors import ConfigError, InputError, StorageError, reason
from mnist_lab.files.regular import open_regular

# What imports Hydra is imported where it is needed: `mnist-lab runs` answers sooner without it.
_HEAD = 1000  # bytes of a file in which it says what has written it
# In HTML, in Markdown, and in a PNG.
_MARKS = ('<meta name="generator" content="{}">', "<!-- {} -->", "Software\0{}")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are a ``ConfigError``, shown in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print with the usage.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{message}; {self.prog} --help says more")

    def parse_intermixed_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse arguments, options and overrides in any order.

        Raises:
            ConfigError: an argument is wrong.
        """
        _refuse_dashes(args, self)
        return super().parse_intermixed_args(args, namespace)

    def add_overwrite(self, own: str = "") -> None:
        """Add the option ``--overwrite``, of which ``check_may_write`` is told.

        ``own`` are files that are replaced without it.
        """
        text = f"; {own} that is there is replaced without it" if own else ""
        help = f"replace a file that is there{text}"
        self.add_argument("--overwrite", action="store_true", help=help)

    def parse_with_targets(
        self, arguments: list[str], *others: str
    ) -> tuple[argparse.Namespace, list[str]]:
        """Return a verb's options, and what its override ``allow_targets`` allows.

        The options hold the overrides as they were typed in ``overrides``; ``others`` are the other
        keys that the verb takes.

        Raises:
            ConfigError: an argument is wrong, or there is another override.
        """
        text = " and ".join(["allow_targets=[my_package.] for own code", *others])
        self.add_argument("overrides", nargs="*", default=[], help=f"only {text}")
        options = self.parse_intermixed_args(arguments)
        return options, only_targets(options.overrides, *others)


def _refuse_dashes(words: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Refuse a key that is written as an option, ``--optimizer.lr=0.1``.

    Raises:
        ConfigError: there is one; the message says how it is written.
    """
    options = re.findall(r"-[-\w]+", parser.format_usage())
    for word in words:
        match = re.fullmatch(r"-{1,2}(\w+)((?:[./]\w+)*)(=.*)?", word, re.DOTALL)
        if not match or word.partition("=")[0] in options:
            continue
        from mnist_lab.config.messages import known_keys

        full_keys = {key.rpartition(".")[2]: key for key in reversed(list(known_keys()))}
        if match[2] or match[1] in full_keys:
            key = match[1] + match[2] if match[2] else full_keys[match[1]]
            typed = shlex.quote(f"{key}{match[3]}") if match[3] else f"{key}=VALUE"
            raise ConfigError(f"{word}: is written without dashes: {typed}")


def split_targets(words: list[str], what: str) -> tuple[list[str], list[str]]:
    """Return the paths that a verb is to read, each once, and its ``allow_targets`` overrides.

    Raises:
        ConfigError: there is no path, or an override is wrong.
    """
    targets = [text for text in words if text.startswith("allow_targets=")]
    only_targets(targets)
    places = list(dict.fromkeys(text for text in words if text not in targets))
    if not places:
        raise ConfigError(f"{what}: at least one is required")
    return places, targets


def only_targets(overrides: list[str], *others: str) -> list[str]:
    """Return what ``allow_targets`` allows, the one override of a verb that uses a run's config.

    ``others`` are the keys that the verb takes besides.

    Raises:
        ConfigError: there is another override.
    """
    for text in overrides:
        if text.partition("=")[0] not in ("allow_targets", *others):
            raise ConfigError(f"{text}: not taken; a run's own config is used")
    from mnist_lab.config.overrides import opened_targets

    return opened_targets(overrides)


def check_may_write(path: Path, may_overwrite: bool, generator: str = "") -> None:
    """Check before the work that its result can be written, and replaces only what it may.

    Args:
        path: the file that is to be written.
        may_overwrite: whether any file is replaced.
        generator: a verb, of which a file is replaced that says that the verb has written it.

    Raises:
        ConfigError: it would replace a file that the user has not given up, or what is no regular
            file, as a folder or a device.
        StorageError: there can be no such file, or its folder is missing.
    """
    if _is_other(path):
        raise ConfigError(f"{path}: must be a regular file, or a path where none is")
    if not os.path.isdir(path.parent):
        raise StorageError(f"{path}: cannot be written: no such directory: {path.parent}")
    if os.path.lexists(path) and not may_overwrite and not _is_by(generator, path):
        raise ConfigError(f"{path}: is there already; --overwrite replaces it")


def _is_other(path: Path) -> bool:
    """Return whether a path leads to something that is no regular file, or to an open one."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {reason(error)}") from error
    # /dev/stdout is such a link, and would itself be replaced where the output goes to a file.
    is_open = os.path.islink(path) and os.readlink(path).startswith("/proc/")
    return is_open or not stat.S_ISREG(mode)


def _is_by(generator: str, path: Path) -> bool:
    """Return whether a file says at its beginning what has written it, and that is this."""
    head = b""
    with contextlib.suppress(InputError), open_regular(path) as file:
        head = file.read(_HEAD)
    return generator != "" and any(mark.format(generator).encode() in head for mark in _MARKS)
