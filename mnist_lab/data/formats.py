"""Formats of the files that sets are published in: IDX, NumPy's .npz, LIBSVM's text.

IDX is LeCun's format: two zero bytes, a type code, the number of dimensions, each dimension as a
big-endian 32-bit integer, then the values (http://yann.lecun.com/exdb/mnist/).
"""

import bz2
import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor

from mnist_lab.errors import InputError, first_line, reason

_IDX_CODES = {"u1": 0x08, ">i4": 0x0C}
_USPS_SIDE, _BOX, _MARGIN = 16, 20, 4  # pixels; MNIST's digits fill a box of 20 in 28


def unpacked(content: bytes | bytearray, path: Path, max_bytes: int) -> bytearray:
    """Return the content of a file, without the compression that its suffix names.

    Raises:
        InputError: it is corrupt, or too large once unpacked.
    """
    if path.suffix not in (".gz", ".bz2"):
        return bytearray(content)
    packed = io.BytesIO(content)
    try:
        with gzip.open(packed) if path.suffix == ".gz" else bz2.open(packed) as file:
            content = bytearray(file.read(max_bytes + 1))
    except (OSError, EOFError, zlib.error) as error:
        raise corrupt(path, f"cannot be read: {reason(error)}") from error
    if len(content) > max_bytes:
        raise corrupt(path, f"too large, {max_bytes:,} bytes at most once unpacked")
    return content


def read_part(files: Sequence[tuple[Path, bytearray]], max_bytes: int) -> tuple[Tensor, Tensor]:
    """Return images ``(N, 28, 28)`` uint8 and labels ``(N,)`` int64 of a part of a set.

    Args:
        files: images, then labels, or one that has both; each with its path.
        max_bytes: of a file, once it is unpacked.

    Raises:
        InputError: a file is corrupt.
    """
    if len(files) == 1:
        return _read_libsvm(*files[0])
    (path, content), (labels_path, labels_content) = files
    if path.suffix == ".npz":
        pair = (_only_array(*file, max_bytes) for file in files)
        pixels, labels = pair
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (28, 28) or not len(pixels):
            raise corrupt(path, f"{pixels.dtype} {pixels.shape} found, uint8 (N, 28, 28) required")
        if labels.dtype != np.uint8 or labels.ndim != 1:
            raise corrupt(labels_path, f"{labels.dtype} {labels.shape} found, uint8 (N,) required")
    else:
        pixels = _read_idx(content, path, (28, 28))
        is_extended = labels_path.name.removesuffix(".gz").endswith("-int")  # QMNIST's
        if is_extended:  # the label, and seven numbers about the writer
            labels = _read_idx(labels_content, labels_path, (8,), ">i4")[:, 0]
        else:
            labels = _read_idx(labels_content, labels_path, ())
    if len(labels) != len(pixels):
        raise corrupt(labels_path, f"{len(labels):,} labels for the {len(pixels):,} of {path}")
    return torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64))


def _read_idx(
    content: bytearray, path: Path, shape: tuple[int, ...], kind: str = "u1"
) -> NDArray[np.generic]:
    """Return the values of an IDX file, ``(N, *shape)``, which share the buffer's memory."""
    header = 8 + 4 * len(shape)
    if bytes(content[:4]) != bytes((0, 0, _IDX_CODES[kind], 1 + len(shape))):
        name = "uint8" if kind == "u1" else "int32"
        raise corrupt(path, f"not an IDX file of {name} with {1 + len(shape)} dimensions")
    count, *rest = (int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
    if not count or tuple(rest) != shape:
        required = ", ".join(map(str, ("at least 1", *shape)))
        raise corrupt(path, f"dimensions {(count, *rest)} found, ({required}) required")
    size = np.dtype(kind).itemsize
    values, over = divmod(len(content) - header, size)
    if over or values != (expected := count * torch.Size(shape).numel()):
        raise corrupt(path, f"{values:,} values found, {expected:,} required")
    return np.frombuffer(content, kind, offset=header).reshape(count, *shape)


def read_npz(
    content: bytes | bytearray, path: Path, max_bytes: int
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of an .npz file by their names; nothing in it is unpickled.

    Raises:
        InputError: it is corrupt, too large, or has an array of objects.
    """
    try:
        with NpzFile(io.BytesIO(content), allow_pickle=False) as file:
            assert file.zip is not None  # until it is closed
            if sum(member.file_size for member in file.zip.infolist()) > max_bytes:
                raise InputError(f"{path}: too large, {max_bytes:,} bytes at most once unpacked")
            return {name: file[name] for name in file.files}
    except InputError:
        raise
    except Exception as error:  # of zip, zlib and NumPy, of a dozen kinds
        raise InputError(f"{path}: not an .npz file of numbers: {first_line(error)}") from error


def _only_array(path: Path, content: bytearray, max_bytes: int) -> NDArray[np.generic]:
    arrays = read_npz(content, path, max_bytes)
    if len(arrays) != 1:
        raise corrupt(path, f"{len(arrays)} arrays found, 1 required")
    (array,) = arrays.values()
    return array


def _read_libsvm(path: Path, content: bytearray) -> tuple[Tensor, Tensor]:
    """Return the 16 x 16 images of USPS in MNIST's form, and their labels from 1 on."""
    columns = _USPS_SIDE**2
    try:
        text = io.StringIO(content.decode("ascii").replace(":", " "))
        table = torch.from_numpy(np.loadtxt(text, dtype=np.float32, ndmin=2))
    except ValueError as error:
        raise corrupt(path, f"not LIBSVM's text: {first_line(error)}") from error
    if table.shape[1] != 1 + 2 * columns or (table[:, 1::2] != torch.arange(1, columns + 1)).any():
        raise corrupt(path, f"a label and {columns} numbered values a line are required")
    values = table[:, 2::2].reshape(-1, 1, _USPS_SIDE, _USPS_SIDE)  # from -1 to 1
    if not ((values >= -1) & (values <= 1)).all():
        raise corrupt(path, "values from -1 to 1 are required")
    scaled = F.interpolate((values + 1) * 127.5, (_BOX, _BOX), mode="bilinear")
    pixels = F.pad(scaled, (_MARGIN,) * 4).round().to(torch.uint8)
    return pixels[:, 0], table[:, 0].long()


def corrupt(path: Path, reason: str) -> InputError:
    """Return the error of a published file that is not as it was published."""
    return InputError(f"{path}: {reason}; replace it, or delete all of the set's for the published")
