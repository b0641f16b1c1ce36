"""Folders of images and files of arrays, as a user has them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw


def write_folder(root: Path, counts: Mapping[str, int]) -> None:
    """Write a folder for each class with so many images, which a model can tell apart.

    Each has a bar, at a place of its class's and of a length of its own.
    """
    root.mkdir(parents=True, exist_ok=True)
    for place, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = Image.new("RGB", (60, 40 + number % 5), "white")
            left = 4 + 14 * place
            ImageDraw.Draw(image).rectangle((left, 2, left + 8, 20 + number % 13), "black")
            image.save(root / name / f"{number}.png")


def write_csv(path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Write images ``(N, 28, 28)`` as Kaggle's digit recognizer has them."""
    lines = ["label," + ",".join(f"pixel{at}" for at in range(784))]
    for image, label in zip(images, labels, strict=True):
        lines.append(",".join(map(str, [int(label), *image.flatten().tolist()])))
    path.write_text("\n".join(lines) + "\n")
