"""The files of ``mnist-lab predict --show``: what the model sees of each image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_lab.cli.arguments import check_may_write
from mnist_lab.errors import ConfigError, printable
from mnist_lab.files.atomic import write_atomic, write_errors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnist_lab.inference.predict import Prediction


def files_to_show(
    place: Path, images: Sequence[Path], num_images: int, may_overwrite: bool
) -> dict[str, Path]:
    """Return the file for each image, by the image's name as it is printed.

    Args:
        place: a .png for one image, or a folder.
        images: those that are read.
        num_images: how many were meant, with those that are missing.
        may_overwrite: whether files that are there are replaced; images that are read never are.

    Raises:
        ConfigError: the place does not fit, or a file would be replaced.
    """
    _check_place(place, num_images)
    files = _files(place, images)
    read = {_identity(image) for image in images} - {None}
    for file in files.values():
        if _identity(file) in read:
            raise ConfigError(
                f"--show {place}: {file}: is one of the images that are read; give another place"
            )
        if _is_png(place) or os.path.isdir(place):  # else the folder is made
            check_may_write(file, may_overwrite)
    return files


def _check_place(place: Path, num_images: int) -> None:
    from mnist_lab.files.images import SUFFIXES

    is_png, required = _is_png(place), f"--show {place}: must be a .png file, or a folder"
    if place.suffix.lower() in SUFFIXES and not is_png:
        raise ConfigError(required)
    if os.path.exists(place) and not os.path.isdir(place) and not is_png:
        raise ConfigError(f"{required}; it is a file")
    if num_images > 1 and is_png:
        raise ConfigError(f"--show {place}: a folder is required for {num_images} images")


def _is_png(place: Path) -> bool:
    return place.suffix.lower() == ".png"


def _files(place: Path, images: Sequence[Path]) -> dict[str, Path]:
    names = list(map(printable, images))
    if _is_png(place):
        return dict.fromkeys(names, place)
    files: dict[str, Path] = {}
    taken: set[str] = set()
    for image in names:
        stem = name = Path(image).stem
        numbers = count(2)
        while name in taken:  # images of one name in several folders
            name = f"{stem}-{next(numbers)}"
        taken.add(name)
        files[image] = place / f"{name}.png"
    return files


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what is the same for two paths of one file, and None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def write_inputs(place: Path, files: Mapping[str, Path], predictions: Iterable[Prediction]) -> None:
    """Write the model's inputs, those of an image side by side, to the file of each image.

    Raises:
        StorageError: a file cannot be written.
    """
    import numpy as np

    from mnist_lab.files.images import png

    digits: dict[str, list[NDArray[np.uint8]]] = {}
    for prediction in predictions:
        digits.setdefault(prediction.name, []).append(prediction.pixels)
    with write_errors(place):
        if digits and not _is_png(place):
            place.mkdir(parents=True, exist_ok=True)
        for image, pixels in digits.items():
            write_atomic(files[image], png(np.hstack(pixels)))
