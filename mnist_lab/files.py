"""Files that are there whole or not at all."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomic(path: Path, content: bytes | bytearray) -> None:
    """Write a file that is seen whole or not at all; the caller holds a lock on its folder.

    Raises:
        OSError: it cannot be written; what was there before is left.
    """
    replace_atomic(path, lambda file: file.write(content))


def replace_atomic(
    path: Path, write: Callable[[BinaryIO], object], keep: Path | None = None
) -> None:
    """Replace a file by what ``write`` writes, which is on the disk before it gets the name.

    Args:
        path: the file; the caller holds a lock on its folder.
        write: writes the new content.
        keep: where the file that is replaced goes, on the same file system; None drops it.

    Raises:
        OSError: it cannot be written; what was there before is left.
    """
    partial = path.with_name(f".{path.name}.partial")  # one name: killed writers leave one file
    try:
        with open(partial, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlive a loss of power, where the system can."""
    with contextlib.suppress(OSError):  # Windows opens no folders, some network mounts sync none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_partials(folder: Path) -> None:
    """Remove what writers that were killed have left; the caller holds the folder's lock."""
    for partial in folder.glob(".*.partial"):
        partial.unlink(missing_ok=True)
