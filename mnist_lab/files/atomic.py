"""Atomic writing: a file is seen whole or not at all."""

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from mnist_lab.errors import LabError, StorageError, reason

_STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO}


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


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Re-raise what the system has against a write in one line.

    Args:
        path: the file or folder that is written.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {reason(error)}") from error


@contextlib.contextmanager
def storage_errors(run_dir: Path) -> Iterator[None]:
    """Report a full or broken disk in one line, wherever in a run it occurs.

    TensorBoard's writer meets it in a thread, prints a traceback there, and raises it on the next
    value that it is given, which Lightning takes for a value of a wrong type.

    Raises:
        StorageError: something could not be written.
    """
    hook = threading.excepthook

    def quiet_hook(failure: threading.ExceptHookArgs) -> None:
        if _storage_cause(failure.exc_value) is None:
            hook(failure)

    threading.excepthook = quiet_hook
    try:
        yield
    except LabError:
        raise
    except Exception as error:
        cause = _storage_cause(error)
        if cause is None:
            raise
        raise StorageError(
            f"{cause.filename or run_dir}: cannot be written: {cause.strerror}; free some space or "
            f"fix permissions, then run mnist-lab resume {run_dir}"
        ) from error
    finally:
        threading.excepthook = hook


def _storage_cause(error: BaseException | None) -> OSError | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _STORAGE_ERRNOS:
            return error
        error = error.__cause__ or error.__context__
    return None
