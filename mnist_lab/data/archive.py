"""Reads MNIST from the package and, from IDX files, the sets that share its format.

IDX is LeCun's format: two zero bytes, a type code, the number of dimensions, each dimension as a
big-endian 32-bit integer, then the values (http://yann.lecun.com/exdb/mnist/).
"""

import gzip
import hashlib
import http.client
import io
import logging
import lzma
import os
import urllib.error
import urllib.request
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock
from torch import Tensor

from mnist_lab.data.sets import FOLDERS, NUM_CLASSES, NUM_TEST, NUM_TRAIN
from mnist_lab.errors import InputError, reason
from mnist_lab.files.atomic import write_atomic
from mnist_lab.files.regular import read_regular

PACKED = Path(__file__).parent / "mnist"
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
# Where the other sets are published, and the MD5 sums of their gzipped files there.
SOURCES = {
    "fashion_mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "kmnist": "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
}
MD5 = {
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    "kmnist": {
        "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
    },
}
_IDX_UINT8 = 0x08
_MAX_BYTES = 64_000_000  # of a file; the largest, 60,000 images, has 47 million
_LOCK_SECONDS = 60  # unpacking takes under a second; a holder that hangs must not hang the others
_NETWORK_SECONDS = 15  # without an answer
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


def default_root() -> Path:
    """Return the folder that the sets are kept in when ``data.root`` is not given.

    It is ``$MNIST_LAB_DATA``, else ``mnist_lab`` in the user's cache folder.
    """
    if chosen := os.environ.get("MNIST_LAB_DATA"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnist_lab"


def load_split(dataset: str, train: bool, root: Path | None = None) -> Split:
    """Read and check one part of a set.

    Args:
        dataset: ``mnist``, ``fashion_mnist`` or ``kmnist``.
        train: the 60,000 training images if true, else the 10,000 test images.
        root: the folder that holds the sets; None is ``default_root()``.

    Raises:
        InputError: a file is corrupt, or missing and cannot be downloaded.
    """
    prefix, num_images = ("train", NUM_TRAIN) if train else ("t10k", NUM_TEST)
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    raw = (root or default_root()) / FOLDERS[dataset] / "raw"
    if dataset == "mnist":
        buffers = [_read_embedded(raw / name) for name in names]
    else:
        buffers = [_read_published(dataset, raw / name) for name in names]
    images = _parse(buffers[0], raw / names[0], (num_images, 28, 28)).unsqueeze(1)
    labels = _parse(buffers[1], raw / names[1], (num_images,))
    if (highest := int(labels.max())) >= NUM_CLASSES:
        raise _corrupt(raw / names[1], f"label {highest} found, 0 to {NUM_CLASSES - 1} required")
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    return Split(images, labels.long(), digest.hexdigest())


def _read_embedded(path: Path) -> bytearray:
    """Return an MNIST file from the cache, after unpacking it there where needed."""
    if (content := _read_if_valid(path)) is not None:
        return content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock", timeout=_LOCK_SECONDS):
            if (content := _read_if_valid(path)) is not None:
                return content  # another process was faster
            was_corrupt = path.exists()
            content = _unpack(path.name)
            write_atomic(path, content)
    except (OSError, NotImplementedError) as error:  # the latter: no locks in this file system
        warnings.warn(
            f"{path.parent} cannot be written ({reason(error)}); MNIST is unpacked in memory "
            "instead, which costs about 0.6 s a run; data.root= or MNIST_LAB_DATA names another "
            "folder",
            stacklevel=2,
        )
        return _unpack(path.name)
    if was_corrupt:
        warnings.warn(
            f"{path} was corrupt and has been unpacked again from the package", stacklevel=2
        )
    return content


def _read_if_valid(path: Path) -> bytearray | None:
    try:
        content = bytearray(read_regular(path, _MAX_BYTES))
    except InputError:
        return None
    return content if hashlib.sha256(content).hexdigest() == MNIST_SHA256[path.name] else None


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


def _read_published(dataset: str, path: Path) -> bytearray:
    """Return a file of another set: from the disk, gzipped or not, or else downloaded."""
    packed = path.with_name(f"{path.name}.gz")
    try:
        if path.exists():
            return bytearray(read_regular(path, _MAX_BYTES))
        if packed.exists():
            return _unzip(read_regular(packed, _MAX_BYTES), packed)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock"):
            if path.exists():  # another process was faster
                return bytearray(read_regular(path, _MAX_BYTES))
            content = _unzip(_download(dataset, packed.name), packed)
            write_atomic(path, content)
            return content
    except (OSError, NotImplementedError, http.client.HTTPException) as error:
        raise InputError(
            f"{path} is missing and could not be downloaded ({reason(error)}); "
            f"put the four IDX files of {FOLDERS[dataset]}, gzipped or not, into {path.parent}"
        ) from error


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


def _download(dataset: str, name: str) -> bytes:
    """Return a published file, checked by its MD5.

    Raises:
        OSError, HTTPException: it cannot be downloaded, or is another file.
    """
    request = urllib.request.Request(SOURCES[dataset] + name, headers={"User-Agent": "mnist_lab"})
    _log.info("downloading %s", request.full_url)
    try:
        with urllib.request.urlopen(request, timeout=_NETWORK_SECONDS) as response:
            packed: bytes = response.read()
    except urllib.error.HTTPError as error:
        error.close()
        raise
    if hashlib.md5(packed, usedforsecurity=False).hexdigest() != MD5[dataset][name]:
        raise OSError(f"{request.full_url} is not the published file")
    return packed


def _parse(content: bytearray, path: Path, shape: tuple[int, ...]) -> Tensor:
    """Return the values of an IDX file as a uint8 tensor that shares the buffer's memory."""
    header = 4 + 4 * len(shape)
    magic = bytes((0, 0, _IDX_UINT8, len(shape)))
    if bytes(content[:4]) != magic:
        raise _corrupt(path, f"not an IDX file of uint8 with {len(shape)} dimensions")
    dimensions = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
    if dimensions != shape:
        raise _corrupt(path, f"dimensions {dimensions} found, {shape} required")
    count = len(content) - header
    if count != (expected := torch.Size(shape).numel()):
        raise _corrupt(path, f"{count:,} values found, {expected:,} required")
    return torch.frombuffer(content, dtype=torch.uint8, offset=header).view(shape)


def _corrupt(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: {reason}; replace it, or delete it to download it again")
