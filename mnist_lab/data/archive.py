"""MNIST as it is embedded in the package, and the IDX files of the sets that share its format.

IDX is LeCun's format: two zero bytes, a type code, the number of dimensions, each dimension as a
big-endian 32-bit integer, then the values (http://yann.lecun.com/exdb/mnist/).
"""

import hashlib
import lzma
import os
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock
from torch import Tensor

from mnist_lab.errors import InputError

PACKED = Path(__file__).parent / "mnist"
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
NUM_CLASSES = 10
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_IDX_UINT8 = 0x08


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
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnist_lab"


def load_split(dataset: str, train: bool, root: Path | None = None) -> Split:
    """Read and check one part of a set.

    Args:
        dataset: ``mnist``, ``fashion_mnist`` or ``kmnist``.
        train: the 60,000 training images if true, else the 10,000 test images.
        root: the folder that holds the sets; None is ``default_root()``.

    Raises:
        InputError: a file is damaged, or missing and cannot be downloaded.
    """
    prefix, num_images = ("train", 60_000) if train else ("t10k", 10_000)
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    raw = (root or default_root()) / FOLDERS[dataset] / "raw"
    if dataset == "mnist":
        buffers = [_read_embedded(raw / name) for name in names]
    else:
        buffers = [_read_published(dataset, raw / name) for name in names]
    images = _parse(buffers[0], raw / names[0], (num_images, 28, 28)).unsqueeze(1)
    labels = _parse(buffers[1], raw / names[1], (num_images,))
    if (highest := int(labels.max())) >= NUM_CLASSES:
        raise InputError(
            f"{raw / names[1]}: label {highest} found, labels must be 0 to 9; "
            "delete the file or replace it with the published one"
        )
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    return Split(images, labels.long(), digest.hexdigest())


def _read_embedded(path: Path) -> bytearray:
    """Return an unpacked MNIST file from the cache, unpacking it first where that is needed."""
    if (found := _read_if_valid(path)) is not None:
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock"):
            if (found := _read_if_valid(path)) is not None:
                return found  # another process was faster
            if path.exists():
                warnings.warn(
                    f"{path} was damaged and has been unpacked again from the package", stacklevel=2
                )
            content = _unpack(path.name)
            _write_atomic(path, content)
    except OSError as error:
        warnings.warn(
            f"{path} cannot be written ({error.strerror}); MNIST is unpacked in memory instead, "
            "which costs about 0.6 s a run; data.root= or MNIST_LAB_DATA names another folder",
            stacklevel=2,
        )
        content = _unpack(path.name)
    return content


def _read_if_valid(path: Path) -> bytearray | None:
    try:
        content = _read_bytes(path)
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == MNIST_SHA256[path.name] else None


def _read_bytes(path: Path) -> bytearray:
    with open(path, "rb") as file:
        content = bytearray(os.fstat(file.fileno()).st_size)
        file.readinto(content)
    return content


def _unpack(name: str) -> bytearray:
    content = bytearray(lzma.decompress((PACKED / f"{name}.xz").read_bytes()))
    if hashlib.sha256(content).hexdigest() != MNIST_SHA256[name]:
        raise InputError(f"{PACKED / name}.xz: the packed file is damaged; reinstall mnist_lab")
    return content


def _write_atomic(path: Path, content: bytearray) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read_published(dataset: str, path: Path) -> bytearray:
    """Return a file of a set that is not embedded, downloading the set if it is not there."""
    if not path.exists():
        import torchvision.datasets  # 1.4 s that only a download has to pay

        root = path.parents[2]
        try:
            getattr(torchvision.datasets, FOLDERS[dataset])(root, download=True)
        except Exception as error:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
            raise InputError(
                f"{path} is missing and {FOLDERS[dataset]} could not be downloaded ({reason}); "
                f"put its four unpacked IDX files into {path.parent}"
            ) from error
    try:
        return _read_bytes(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _parse(content: bytearray, path: Path, shape: tuple[int, ...]) -> Tensor:
    """Return the values of an IDX file as a uint8 tensor that shares the buffer's memory."""
    header = 4 + 4 * len(shape)
    magic = bytes((0, 0, _IDX_UINT8, len(shape)))
    if bytes(content[:4]) != magic:
        raise InputError(f"{path}: not an IDX file of uint8 with {len(shape)} dimensions")
    found = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
    if found != shape:
        raise InputError(f"{path}: dimensions {found} found, {shape} required")
    count = len(content) - header
    if count != (expected := torch.Size(shape).numel()):
        raise InputError(f"{path}: {count:,} values found, {expected:,} required; it may be cut")
    return torch.frombuffer(content, dtype=torch.uint8, offset=header).view(shape)
