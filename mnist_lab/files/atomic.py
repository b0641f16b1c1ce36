"""Atomic writing below a directory: a file is seen whole or not at all, and no link is followed.

A directory may come from somebody else, and a link in it would lead a write elsewhere. So each
folder below the directory is opened within the one above it, and files get their names there.
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from mnist_lab.errors import LabError, StorageError, UntrustedError, causes, reason

_STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def write_atomic(
    path: Path, content: bytes | bytearray, root: Path | None = None, is_durable: bool = True
) -> None:
    """Write a file that is seen whole or not at all, as ``replace_atomic`` does."""
    replace_atomic(path, lambda file: file.write(content), root=root, is_durable=is_durable)


def replace_atomic(
    path: Path,
    write: Callable[[BinaryIO], object],
    keep: Path | None = None,
    root: Path | None = None,
    is_durable: bool = True,
) -> None:
    """Replace a file by what ``write`` writes, which is on the disk before it gets the name.

    Args:
        path: the file; the caller holds a lock on its folder.
        write: writes the new content.
        keep: the path in the same folder that the replaced file gets; None drops it.
        root: the directory that was named to the lab, by whichever way; below it no link is
            followed, and folders that are missing are made. None is the file's own folder.
        is_durable: whether it outlives a loss of power, for which the disk is waited for.

    Raises:
        OSError: it cannot be written; what was there before is left.
        UntrustedError: a folder below ``root`` is a link.
    """
    with _replaced(path, root, is_durable) as (partial, folder):
        with os.fdopen(os.open(partial, _NEW_FILE, 0o666, dir_fd=folder), "wb") as file:
            write(file)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        if keep is not None:
            with contextlib.suppress(FileNotFoundError):
                _rename(path.name, keep.name, folder)


def link_atomic(path: Path, name: Path, root: Path | None = None) -> None:
    """Give a file a second name in its folder, which another file may have.

    Raises:
        OSError: it cannot be done; some file systems have one name for a file.
        UntrustedError: a folder below ``root`` is a link.
    """
    with _replaced(name, root) as (partial, folder):
        os.link(path.name, partial, src_dir_fd=folder, dst_dir_fd=folder)


def copy_atomic(path: Path, name: Path, root: Path | None = None) -> None:
    """Copy a file as ``replace_atomic`` writes one; a copy under its own name has no second one."""
    with open(path, "rb") as content:
        replace_atomic(name, lambda file: shutil.copyfileobj(content, file), root=root)


def rename(path: Path, name: Path, root: Path) -> None:
    """Give a file another name in its folder.

    Raises:
        OSError: it cannot be done.
        UntrustedError: a folder below ``root`` is a link.
    """
    with opened_folder(path.parent, root) as folder:
        _rename(path.name, name.name, folder)


def remove(path: Path, root: Path | None = None) -> None:
    """Remove a file if it is there.

    Raises:
        OSError: it cannot be done.
        UntrustedError: a folder below ``root`` is a link.
    """
    with contextlib.suppress(FileNotFoundError), opened_folder(path.parent, root) as folder:
        os.unlink(path.name, dir_fd=folder)


def remove_partials(folder: Path, root: Path) -> None:
    """Remove what writers that were killed have left; the caller holds the folder's lock."""
    if not folder.is_dir():
        return
    with opened_folder(folder, root) as descriptor:
        for name in os.listdir(descriptor):
            if name.startswith(".") and name.endswith(".partial"):
                os.unlink(name, dir_fd=descriptor)


@contextlib.contextmanager
def opened_folder(path: Path, root: Path | None = None) -> Iterator[int]:
    """Open a folder below another without following links, and make it where it is missing.

    Args:
        path: the folder.
        root: as in ``replace_atomic``; None is the folder itself.

    Yields:
        The folder's descriptor.

    Raises:
        OSError: it cannot be opened or made.
        UntrustedError: it, or a folder between, is a link.
    """
    place = path if root is None else root
    parts = path.relative_to(place).parts
    descriptor = os.open(place, _FOLDER)
    try:
        for part in parts:
            place = place / part
            above = descriptor
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=above)
            mode = os.stat(part, dir_fd=above, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode) or part == "..":
                raise UntrustedError(
                    f"{place}: a link in a directory that is written to; put the folder there"
                )
            descriptor = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
            os.close(above)
        yield descriptor
    except OSError as error:
        if error.filename is not None:  # a name alone
            error.filename = str(path / error.filename)
        raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _replaced(path: Path, root: Path | None, is_durable: bool = True) -> Iterator[tuple[str, int]]:
    """Yield a new name and the folder that it is in, and give what is made there a file's name."""
    with opened_folder(path.parent, root) as folder:
        partial = f".{secrets.token_hex(8)}.partial"
        try:
            yield partial, folder
            _rename(partial, path.name, folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=folder)
            raise
        if is_durable:
            with contextlib.suppress(OSError):  # some network mounts sync no folders
                os.fsync(folder)  # so that the name outlives a loss of power


def _rename(path: str, name: str, folder: int) -> None:
    os.replace(path, name, src_dir_fd=folder, dst_dir_fd=folder)


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Re-raise what the system has against writing a file or a folder in one line.

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
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno in _STORAGE_ERRNOS:
            return cause
    return None
