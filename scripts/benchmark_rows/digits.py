"""The unpacked MNIST files as arrays, for rows that go without the lab."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_IMAGES_HEADER = 16  # bytes before the values of an IDX file with three dimensions
_LABELS_HEADER = 8

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def read(root: Path, train: bool) -> Arrays:
    """Return ``(N, 28, 28)`` images and ``(N,)`` labels of the training or the test part.

    Args:
        root: folder of the data sets.
        train: whether to read the 60,000 training images.
    """
    raw, prefix = root / "MNIST" / "raw", "train" if train else "t10k"
    images = np.fromfile(raw / f"{prefix}-images-idx3-ubyte", np.uint8, offset=_IMAGES_HEADER)
    labels = np.fromfile(raw / f"{prefix}-labels-idx1-ubyte", np.uint8, offset=_LABELS_HEADER)
    return images.reshape(-1, 28, 28), labels
