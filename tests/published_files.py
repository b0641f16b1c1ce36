"""Small files in the formats that sets are published in."""

import bz2
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.generic]


def idx(values: Values, code: int = 8) -> bytes:
    """Return values as an IDX file; the code is that of their type."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes((0, 0, code, values.ndim)) + sizes + values.tobytes()


def drawn(count: int, classes: int, side: int = 28) -> tuple[Values, Values]:
    """Return images ``(N, side, side)`` uint8 of noise and labels ``(N,)``, of each class some."""
    images = np.random.default_rng(count).integers(0, 256, (count, side, side), np.uint8)
    return images, np.arange(count, dtype=np.uint8) % classes


def write_emnist(root: Path, split: str, classes: int, first: int = 0) -> None:
    """Write a split of EMNIST, whose images are stored column by column."""
    raw = root / "EMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 2 * classes), ("test", classes)):
        images, labels = drawn(count, classes)
        start = raw / f"emnist-{split}-{part}"
        Path(f"{start}-images-idx3-ubyte").write_bytes(idx(images.swapaxes(1, 2)))
        Path(f"{start}-labels-idx1-ubyte").write_bytes(idx(labels + np.uint8(first)))


def write_qmnist(root: Path) -> None:
    """Write QMNIST, whose labels have seven numbers about the writer beside them."""
    raw = root / "QMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 20), ("test", 10)):
        images, labels = drawn(count, 10)
        about = np.full((count, 8), 4_000_000, ">i4")
        about[:, 0] = labels
        (raw / f"qmnist-{part}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"qmnist-{part}-labels-idx2-int").write_bytes(idx(about, code=12))


def write_kuzushiji49(root: Path) -> None:
    """Write Kuzushiji-49."""
    for part, count in (("train", 98), ("test", 49)):
        images, labels = drawn(count, 49)
        np.savez_compressed(root / f"k49-{part}-imgs.npz", images)
        np.savez_compressed(root / f"k49-{part}-labels.npz", labels)


def write_usps(root: Path) -> None:
    """Write USPS: a label from 1 on and 256 numbered values from -1 to 1 a line."""
    for name, count in (("usps.bz2", 20), ("usps.t.bz2", 10)):
        images, labels = drawn(count, 10, side=16)
        lines = [
            " ".join(
                [str(label + 1)]
                + [f"{at}:{value / 127.5 - 1:.6f}" for at, value in enumerate(image.ravel(), 1)]
            )
            for image, label in zip(images, labels.tolist(), strict=True)
        ]
        (root / name).write_bytes(bz2.compress("\n".join(lines).encode()))
