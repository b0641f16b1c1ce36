"""Sets of the user's own: a folder of images for each class, or one file of arrays."""

import codecs
import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_lab.data.formats import read_npz
from mnist_lab.data.mnist_files import Split
from mnist_lab.data.sets import MOST_CLASSES, checked_names
from mnist_lab.errors import InputError, first_line, reason
from mnist_lab.files.images import as_input, find_images, read_image
from mnist_lab.files.regular import read_regular

_TEST_ONE_IN = 5  # images of a class, where a set has no test part of its own
_SEED = 0  # what draws that part: always the same
_MAX_BYTES = 2_000_000_000  # of a file of arrays, unpacked as well
_SHAPES = ((28, 28), (1, 28, 28), (28, 28, 1), (784,))
_NAMES = ("x_train", "y_train", "x_test", "y_test")  # as Keras has them
Part = tuple[Any, Tensor]  # images, or the paths of their files, and labels (N,)


class ImageFolder:
    """Images of any size, brought to 28 x 28 grey, in a folder for each class.

    Args:
        root: holds the classes' folders, or ``train`` and ``test`` that hold them, and ``val`` if
            there is one, whose images are the first of the training part. Without these a fifth of
            each class, drawn once and for all, is the test part.

    Raises:
        InputError: there are no two classes, one has no image, or the folders are others.
    """

    val_size: int | None = None  # images of val, which validate where nothing else is said

    def __init__(self, root: Path) -> None:
        train, test = root / "train", root / "test"
        is_divided = os.path.isdir(train) and os.path.isdir(test)
        if os.path.isdir(train) and not is_divided:
            raise InputError(
                f"{train}: there is no {test} beside it; name the folder of test images so, or "
                f"choose data.root={train}, of which a fifth is then the test part"
            )
        names = _folders(train if is_divided else root)
        if not 2 <= len(names) <= MOST_CLASSES:
            place = train if is_divided else root
            raise InputError(
                f"{place}: {len(names):,} folder{'' if len(names) == 1 else 's'} found, one for "
                f"each class; 2 to {MOST_CLASSES:,} are required"
            )
        self.class_names = checked_names(names)
        if is_divided:
            self._parts = {True: _shuffled(*_files(train, names)), False: _part(test, train, names)}
            if os.path.isdir(root / "val"):
                paths, labels = _shuffled(*_part(root / "val", train, names))
                self.val_size = len(paths)
                others = self._parts[True]
                self._parts[True] = [*paths, *others[0]], torch.cat((labels, others[1]))
        else:
            paths, labels = _files(root, names)
            self._parts = {
                is_train: ([paths[at] for at in order], labels[order])
                for is_train, order in _divided(root, labels).items()
            }

    def split(self, train: bool) -> Split:
        """Read the images of a part.

        Raises:
            InputError: an image is corrupt.
        """
        paths, labels = self._parts[train]
        images = torch.empty(len(paths), 1, 28, 28, dtype=torch.uint8)
        for image, path in zip(images, paths, strict=True):
            image[0] = torch.from_numpy(as_input(read_image(path)))
        return _hashed(images, labels)


def _folders(parent: Path) -> list[str]:
    """Return the names of the folders in a folder, in order, without hidden ones."""
    try:
        folders = [path for path in parent.iterdir() if path.is_dir()]
    except OSError as error:
        raise InputError(f"{parent}: cannot be read: {reason(error)}") from error
    return sorted(path.name for path in folders if not path.name.startswith((".", "__")))


def _part(parent: Path, train: Path, names: list[str]) -> Part:
    """Return the files of a part besides the training one, which may lack some of its classes."""
    found = _folders(parent)
    if unknown := sorted(set(found) - set(names)):
        raise InputError(f"{parent / unknown[0]}: no class of this name in {train}")
    if not found:
        raise InputError(f"{parent}: has no folders of classes, as {train} has")
    return _files(parent, found, names)


def _shuffled(paths: list[Path], labels: Tensor) -> Part:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SEED))
    return [paths[at] for at in order], labels[order]


def _files(parent: Path, names: list[str], known: list[str] | None = None) -> Part:
    """Return the files of the images of some classes, and labels by the place of their names."""
    paths: list[Path] = []
    labels: list[int] = []
    for name in names:
        place = parent / name
        found = find_images([str(place)])
        for path in found:
            if isinstance(path, InputError):
                raise path
            paths.append(path)
        if place not in {path.parent for path in paths[-len(found) :]}:
            raise InputError(
                f"{place}: has no images but folders of them; a folder of images for each class is "
                f"required in {parent}, or train and test that hold these folders"
            )
        labels += [(known or names).index(name)] * len(found)
    return paths, torch.tensor(labels)


class ArrayFile:
    """Images and labels in an ``.npz`` file, or in a CSV of Kaggle's digit recognizer.

    Args:
        path: an ``.npz`` has ``x_train``, ``y_train``, ``x_test`` and ``y_test``, as Keras names
            them, or ``images`` and ``labels``, of which a fifth of each class, drawn once and for
            all, is the test part; and ``class_names`` if it likes. Images are ``(N, 28, 28)`` or
            ``(N, 784)`` of whole numbers from 0 to 255. Any other suffix is read as CSV: a line of
            headings, then a label and 784 pixels a line.

    Raises:
        InputError: the file is corrupt, or has something else.
    """

    val_size = None

    def __init__(self, path: Path) -> None:
        content = read_regular(path, _MAX_BYTES)
        is_npz = path.suffix.lower() == ".npz"
        arrays = read_npz(content, path, _MAX_BYTES) if is_npz else _read_csv(content, path)
        if all(name in arrays for name in _NAMES):
            train, test = (
                _pair(path, arrays, f"x_{part}", f"y_{part}") for part in ("train", "test")
            )
            self._parts = {True: train, False: test}
            labels = train[1]
        elif "images" in arrays and "labels" in arrays:
            images, labels = _pair(path, arrays, "images", "labels")
            self._parts = {
                is_train: (images[order], labels[order])
                for is_train, order in _divided(path, labels).items()
            }
        else:
            raise InputError(
                f"{path}: {', '.join(arrays) or 'no arrays'} found; images and labels, or "
                f"{', '.join(_NAMES)} are required"
            )
        self.class_names = _class_names(path, arrays, int(labels.max()) + 1)
        if (label := int(self._parts[False][1].max())) >= len(self.class_names):
            raise InputError(
                f"{path}: y_test: label {label} found, 0 to {len(self.class_names) - 1} required"
            )

    def split(self, train: bool) -> Split:
        """Return a part."""
        return _hashed(*self._parts[train])


def _read_csv(content: bytes, path: Path) -> dict[str, Any]:
    heading, _, rest = content.removeprefix(codecs.BOM_UTF8).partition(b"\n")
    if not heading.startswith(b"label,") or not rest.strip():
        raise InputError(
            f"{path}: label,pixel0,...,pixel783 is required as the first line, and a line for each "
            "image after it"
        )
    try:
        # Its C reader also names the row and the column of what is no whole number up to 255.
        text = io.StringIO(rest.decode("ascii"))
        table = np.loadtxt(text, dtype=np.uint8, delimiter=",", comments=None, ndmin=2)
    except ValueError as error:
        raise InputError(f"{path}: {first_line(error)}") from error
    if table.shape[1] != 785:
        raise InputError(f"{path}: {table.shape[1]} values a line found, 785 required")
    return {"images": table[:, 1:], "labels": table[:, 0]}


def _pair(path: Path, arrays: Mapping[str, Any], images_name: str, labels_name: str) -> Part:
    """Return images ``(N, 1, 28, 28)`` uint8 and labels ``(N,)``, once they are checked."""
    images, labels = arrays[images_name], arrays[labels_name]
    is_right = images.dtype.kind in "ui" and images.shape[1:] in _SHAPES and len(images)
    if not is_right or images.min() < 0 or images.max() > 255:
        raise InputError(
            f"{path}: {images_name}: {images.dtype} {images.shape} found; (N, 28, 28) of whole "
            "numbers from 0 to 255 is required"
        )
    if labels.dtype.kind not in "ui" or labels.shape != (len(images),):
        raise InputError(
            f"{path}: {labels_name}: {labels.dtype} {labels.shape} found; ({len(images)},) of "
            "whole numbers is required"
        )
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise InputError(
            f"{path}: {labels_name}: labels from {labels.min()} to {labels.max()} found; 0 to "
            f"{MOST_CLASSES - 1} at most is required"
        )
    pixels = np.ascontiguousarray(images.reshape(-1, 1, 28, 28), dtype=np.uint8)
    return torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64))


def _class_names(path: Path, arrays: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Return the file's names of the classes, else their numbers."""
    given = arrays.get("class_names")
    try:
        names = checked_names([*map(str, range(count))] if given is None else given.tolist())
    except ValueError as error:
        raise InputError(f"{path}: class_names: {error}") from None
    if not max(2, count) <= len(names) <= MOST_CLASSES:
        raise InputError(
            f"{path}: {len(names):,} class{'' if len(names) == 1 else 'es'} found; "
            f"{max(2, count)} to {MOST_CLASSES:,} are required"
        )
    return names


def _divided(place: Path, labels: Tensor) -> dict[bool, Tensor]:
    """Return the positions of the images for training, in an order of chance, and of the others.

    These are of each class one in five, 1 at least and never all.

    Raises:
        InputError: no class has two images.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SEED))
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        of_class = order[labels[order] == label]
        count = max(0, min(len(of_class) - 1, max(1, len(of_class) // _TEST_ONE_IN)))
        is_test[of_class[:count]] = True
    if not is_test.any():
        raise InputError(f"{place}: no class has two images, of which one would be for the test")
    return {True: order[~is_test[order]], False: is_test.nonzero().flatten()}


def _hashed(images: Tensor, labels: Tensor) -> Split:
    digest = hashlib.sha256(images.numpy().data)
    digest.update(labels.numpy().data)
    return Split(images, labels, digest.hexdigest())
