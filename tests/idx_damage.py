"""What can be wrong with an IDX file, done to the bytes of a good one."""

from pathlib import Path

import torch

from mnist_lab.data.mnist_files import Split

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def assert_same(one: Split, other: Split) -> None:
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)
    assert one.sha256 == other.sha256


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def zeros(content: bytes) -> bytes:
    return bytes(len(content))


def empty(content: bytes) -> bytes:
    return content[:0]


def flip_last_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def label_of_99(content: bytes) -> bytes:
    return content[:100] + b"\x63" + content[101:]


def wrong_magic(content: bytes) -> bytes:
    return content[:2] + b"\x0d" + content[3:]  # 32-bit floats


def wrong_dimensions(content: bytes) -> bytes:
    return content[:8] + (56).to_bytes(4, "big") + (14).to_bytes(4, "big") + content[16:]


def wrong_count(content: bytes) -> bytes:
    return content[:4] + (9_999).to_bytes(4, "big") + content[8:]


def too_long(content: bytes) -> bytes:
    return content + b"\0"


def only_header(content: bytes) -> bytes:
    return content[:6]


def swap(one: Path, other: Path) -> None:
    """Have each of two files hold what the other held."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
