"""Bounded reading of regular files and of directories that hold no others, whoever wrote them."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mnist_lab.errors import InputError, UntrustedError, reason

_FLAGS = os.O_RDONLY | os.O_NONBLOCK


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; a pipe or a device, which might never end, is refused.

    Raises:
        InputError: the file is missing, not regular, or not readable.
    """
    descriptor, _ = _open(path)
    with os.fdopen(descriptor, "rb") as file:
        try:
            yield file
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {reason(error)}") from error


def _open(path: Path, name: str | None = None) -> tuple[int, int]:
    """Return a file's descriptor and its size; messages call it by a name, or by its path."""
    try:
        descriptor = os.open(path, _FLAGS)  # without O_NONBLOCK a pipe would wait for its writer
        status = os.fstat(descriptor)
    except FileNotFoundError:
        raise InputError(f"{name or path}: no such file") from None
    except (OSError, ValueError) as error:  # the latter: a name with a zero byte
        raise InputError(f"{name or path}: cannot be read: {reason(error)}") from error
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InputError(f"{name or path}: is not a regular file")
    return descriptor, status.st_size


def read_regular(path: Path, max_bytes: int, name: str | None = None) -> bytes:
    """Return the content of a regular file.

    A listing reads thousands of small files, for which a buffer as large as the bound is too much.

    Raises:
        InputError: the file is missing, not regular, too large, or not readable.
    """
    descriptor, size = _open(path, name)
    content = b""
    try:
        while len(content) <= max_bytes:
            most = min(max(size - len(content), 0), max_bytes) + 1
            part = os.read(descriptor, most)
            content += part
            if len(part) < most:
                break
    except OSError as error:
        raise InputError(f"{name or path}: cannot be read: {reason(error)}") from error
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise InputError(f"{name or path}: too large, {max_bytes:,} bytes at most")
    return content


def read_of_run(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file that every run's directory has.

    Raises:
        InputError: as ``read_regular`` does; where it is missing, the directory is asked after.
    """
    try:
        return read_regular(path, max_bytes)
    except InputError:
        if path.exists():
            raise
        message = f"{path}: no such file; is {path.parent} a run's directory?"
        raise InputError(message) from None


def check_links(directory: Path) -> None:
    """Refuse a directory with a link out of it at any level, or with a pipe or a device in it.

    Whoever reads or writes below it by name stays within it then, libraries included. It may be
    reached by a link itself, and may be missing.

    Raises:
        UntrustedError: there is such a link.
    """
    unseen = [os.fspath(directory)]
    while unseen:
        with contextlib.suppress(OSError), os.scandir(unseen.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    _check_link(Path(entry.path), directory.resolve())
                elif entry.is_dir(follow_symlinks=False):
                    unseen.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    raise UntrustedError(f"{entry.path}: is not a regular file; remove it")


def _check_link(path: Path, inside: Path) -> None:
    with contextlib.suppress(OSError, RuntimeError):  # the latter: a link to itself, before 3.13
        if path.resolve().is_relative_to(inside):
            return
    raise UntrustedError(f"{path}: a link out of the directory that it is in; put the file there")
