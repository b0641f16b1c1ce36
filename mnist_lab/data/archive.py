"""Reads MNIST from the package and, from IDX files, the sets that share its format.

IDX is LeCun's format: two zero bytes, a type code, the number of dimensions, each dimension as a
big-endian 32-bit integer, then the values (http://yann.lecun.com/exdb/mnist/).
"""

import functools
import gzip
import hashlib
import http.client
import io
import logging
import lzma
import os
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock
from torch import Tensor

from mnist_lab.data.published import download
from mnist_lab.data.sets import (
    FOLDERS,
    NUM_CLASSES,
    TEST_FILES,
    TRAIN_FILES,
    find_file,
    folder_of,
)
from mnist_lab.errors import InputError, reason
from mnist_lab.files.atomic import remove_partials, write_atomic
from mnist_lab.files.regular import read_regular

PACKED = Path(__file__).parent / "mnist"
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_IDX_UINT8 = 0x08
_MAX_BYTES = 64_000_000  # of a file; the largest, 60,000 images, has 47 million
_LOCK_SECONDS = 60  # unpacking takes under a second; a holder that hangs must not hang the others
_log = logging.getLogger(__name__)


class Split(NamedTuple):
    """One of the two parts that a set is published in.

    Args:
        images: ``(N, 1, 28, 28)`` uint8.
        labels: ``(N,)`` int64, each from 0 to 9.
        sha256: hash over the bytes of both files.
    """

    images: Tensor
    labels: Tensor
    sha256: str


def cache() -> Path:
    """Return the lab's own folder, ``mnist_lab`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnist_lab"


def default_root() -> Path:
    """Return the folder of the sets where ``data.root`` is not given: MNIST_LAB_DATA or cache()."""
    chosen = os.environ.get("MNIST_LAB_DATA")
    return Path(chosen).expanduser() if chosen else cache()


def load_split(dataset: str, train: bool, root: Path | None = None, *, fills: bool = True) -> Split:
    """Read and check one part of a set.

    Files of the user's own are used as they are; only in the lab's own folder are they repaired.

    Args:
        dataset: ``mnist``, ``fashion_mnist`` or ``kmnist``.
        train: the training part if true, else the test part.
        root: the folder that holds the sets; None is ``default_root()``.
        fills: whether files that are missing there are put there; else the set is taken from the
            lab's own folder, which is always filled.

    Raises:
        InputError: a file is corrupt, or missing and cannot be downloaded.
    """
    folder = folder_of(root or default_root(), dataset)
    names = TRAIN_FILES + TEST_FILES
    if missing := [name for name in names if find_file(folder, name) is None]:
        if not fills:
            if root is not None:
                _note_lacking(root, dataset)
            folder = folder_of(cache(), dataset)
        elif dataset == "mnist":
            _check_others(folder, missing[0])
    (path, images), (labels_path, labels) = (
        _read(dataset, folder, name) for name in (TRAIN_FILES if train else TEST_FILES)
    )
    pixels, digits = _parse(images, path, (28, 28)), _parse(labels, labels_path, ())
    if len(digits) != len(pixels):
        raise _corrupt(labels_path, f"{len(digits):,} labels for the {len(pixels):,} of {path}")
    if (highest := int(digits.max())) >= NUM_CLASSES:
        raise _corrupt(labels_path, f"label {highest} found, 0 to {NUM_CLASSES - 1} required")
    digest = hashlib.sha256(images)
    digest.update(labels)
    return Split(pixels.unsqueeze(1), digits.long(), digest.hexdigest())


@functools.cache  # once for both parts
def _note_lacking(root: Path, dataset: str) -> None:
    name = FOLDERS[dataset]
    _log.warning("%s: has not all files of %s; the lab's own are used", root, name)


def _check_others(folder: Path, missing: str) -> None:
    """Refuse to complete a set of the user's own by files of MNIST."""
    for path in sorted(folder.glob("[!.]*idx*")):
        if not _is_own(path) and not _is_published(path, _content(path)):
            raise InputError(
                f"{folder / missing}: missing, beside {path.name}, which is not the published file "
                f"of MNIST; all of {', '.join(MNIST_SHA256)} are required, or none"
            )


def _is_own(path: Path) -> bool:
    return path.resolve().is_relative_to(cache().resolve())


def _is_published(path: Path, content: bytearray) -> bool:
    name = path.name.removesuffix(".gz").replace(".idx", "-idx")
    return hashlib.sha256(content).hexdigest() == MNIST_SHA256.get(name)


def _read(dataset: str, folder: Path, name: str) -> tuple[Path, bytearray]:
    """Return one of a set's files, and where it is from."""
    path = find_file(folder, name) or folder / name
    content = _found(dataset, path)
    return path, _filled(dataset, folder / name) if content is None else content


def _found(dataset: str, path: Path) -> bytearray | None:
    """Return what a file has; None if it is missing, or is the lab's own and corrupt."""
    if not os.path.exists(path):
        return None
    is_own = dataset == "mnist" and _is_own(path)
    try:
        content = _content(path)
    except InputError:
        if is_own:
            return None
        raise
    if dataset != "mnist" or _is_published(path, content):
        return content
    if is_own:
        return None
    _log.warning("%s: is not the published file of MNIST, and is used as it is", path)
    return content


def _content(path: Path) -> bytearray:
    content = read_regular(path, _MAX_BYTES)
    return _unzip(content, path) if path.suffix == ".gz" else bytearray(content)


def _filled(dataset: str, path: Path) -> bytearray:
    """Return a file of the package or of the net, after it is put where it is missing."""
    was_corrupt = os.path.exists(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock", timeout=_LOCK_SECONDS if dataset == "mnist" else -1):
            if (content := _found(dataset, path)) is not None:
                return content  # another process was faster
            if _is_own(path):
                remove_partials(path.parent, path.parent)
            content = (
                _unpack(path.name)
                if dataset == "mnist"
                else _unzip(download(dataset, f"{path.name}.gz"), path)
            )
            write_atomic(path, content)
    except (OSError, NotImplementedError, http.client.HTTPException) as error:
        # NotImplementedError: no locks in this file system
        if dataset != "mnist":
            raise InputError(
                f"{path} is missing and could not be downloaded ({reason(error)}); "
                f"put the four IDX files of {FOLDERS[dataset]}, gzipped or not, into {path.parent}"
            ) from error
        warnings.warn(
            f"{path.parent} cannot be written ({reason(error)}); MNIST is unpacked in memory "
            "instead, which costs about 0.6 s a run; data.root= or MNIST_LAB_DATA names another "
            "folder",
            stacklevel=2,
        )
        return _unpack(path.name)
    if was_corrupt:
        warnings.warn(f"{path} was corrupt and has been unpacked again", stacklevel=2)
    return content


def _unpack(name: str) -> bytearray:
    packed = PACKED / f"{name}.xz"
    try:
        content = bytearray(lzma.decompress(packed.read_bytes()))
    except (OSError, lzma.LZMAError) as error:
        raise InputError(
            f"{packed}: cannot be read: {reason(error)}; reinstall mnist_lab"
        ) from error
    if hashlib.sha256(content).hexdigest() != MNIST_SHA256[name]:
        raise InputError(f"{packed}: not the file that was shipped; reinstall mnist_lab")
    return content


def _unzip(packed: bytes, path: Path) -> bytearray:
    """Return the content of a gzipped file.

    Raises:
        InputError: it is corrupt, or too large once unpacked.
    """
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            content = bytearray(file.read(_MAX_BYTES + 1))
    except (OSError, EOFError, zlib.error) as error:
        raise _corrupt(path, f"cannot be read: {reason(error)}") from error
    if len(content) > _MAX_BYTES:
        raise _corrupt(path, f"too large, {_MAX_BYTES:,} bytes at most once unpacked")
    return content


def _parse(content: bytearray, path: Path, shape: tuple[int, ...]) -> Tensor:
    """Return the values of an IDX file, ``(N, *shape)`` uint8, which share the buffer's memory."""
    header = 8 + 4 * len(shape)
    magic = bytes((0, 0, _IDX_UINT8, 1 + len(shape)))
    if bytes(content[:4]) != magic:
        raise _corrupt(path, f"not an IDX file of uint8 with {1 + len(shape)} dimensions")
    count, *rest = (int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
    if not count or tuple(rest) != shape:
        required = ", ".join(map(str, ("at least 1", *shape)))
        raise _corrupt(path, f"dimensions {(count, *rest)} found, ({required}) required")
    values = len(content) - header
    if values != (expected := count * torch.Size(shape).numel()):
        raise _corrupt(path, f"{values:,} values found, {expected:,} required")
    return torch.frombuffer(content, dtype=torch.uint8, offset=header).view(count, *shape)


def _corrupt(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: {reason}; replace it, or delete all four for the published ones")
