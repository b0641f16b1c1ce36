"""Bounded reading of regular files, whoever wrote them."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mnist_lab.errors import InputError, reason

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def open_regular(path: Path, name: str | None = None) -> Iterator[BinaryIO]:
    """Open a file for reading; a pipe or a device, which might never end, is refused.

    Args:
        path: the file.
        name: the file's name in messages; None is the path.

    Raises:
        InputError: the file is missing, not regular, or not readable.
    """
    name = name or str(path)
    try:
        descriptor = os.open(path, _FLAGS)  # without O_NONBLOCK a pipe would wait for its writer
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputError(f"{name}: is not a regular file")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:  # the latter: a name with a zero byte
        raise InputError(f"{name}: cannot be read: {reason(error)}") from error
    with os.fdopen(descriptor, "rb") as file:
        try:
            yield file
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {reason(error)}") from error


def read_regular(path: Path, max_bytes: int, name: str | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        max_bytes: the most that is read.
        name: the file's name in messages; None is the path.

    Raises:
        InputError: the file is missing, not regular, too large, or not readable.
    """
    with open_regular(path, name) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise InputError(f"{name or path}: too large, {max_bytes:,} bytes at most")
    return content
