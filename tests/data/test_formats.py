"""Sets in other formats than MNIST's, from small files as they are published."""

import bz2
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import (
    drawn,
    idx,
    write_emnist,
    write_kuzushiji49,
    write_qmnist,
    write_usps,
)

from mnist_lab.data import MNISTDataModule
from mnist_lab.errors import InputError


def module(dataset: str, root: Path, split: str | None = None) -> MNISTDataModule:
    return MNISTDataModule(dataset, root, val_size=None, split=split)


@pytest.mark.parametrize(
    ("split", "classes", "first", "names"),
    [
        ("balanced", 47, 0, ("0", "A", "t")),
        ("letters", 26, 1, ("a", "k", "z")),
        ("digits", 10, 0, ("0", "a", "9")),
        ("byclass", 62, 0, ("0", "A", "z")),
    ],
)
def test_emnist(
    split: str, classes: int, first: int, names: tuple[str, str, str], tmp_path: Path
) -> None:
    from torchvision.datasets import EMNIST

    write_emnist(tmp_path, split, classes, first)
    data = module("emnist", tmp_path, split)
    expected, labels = drawn(2 * classes, classes)
    part = data.split(train=True)
    assert (part.images[:, 0].numpy() == expected).all()  # upright, as they were drawn
    assert part.labels.tolist() == labels.tolist()
    assert list(data.class_names) == EMNIST(str(tmp_path), split).classes[first:]
    assert {names[0], names[2]} <= {*data.class_names}
    assert (data.num_classes, data.val_size) == (classes, 2 * classes // 10)


def test_qmnist_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    from torchvision.datasets import QMNIST

    write_qmnist(tmp_path)
    for train in (True, False):
        part, other = module("qmnist", tmp_path).split(train), QMNIST(str(tmp_path), train=train)
        assert torch.equal(part.images[:, 0], other.data)
        assert part.labels.tolist() == [label for _, label in other]


def test_kuzushiji49(tmp_path: Path) -> None:
    write_kuzushiji49(tmp_path)
    data = module("kuzushiji49", tmp_path)
    images, labels = drawn(49, 49)
    part = data.split(train=False)
    assert (part.images[:, 0].numpy() == images).all()
    assert part.labels.tolist() == labels.tolist()
    assert (data.class_names[0], data.class_names[6], data.class_names[47]) == ("a", "ki", "n")


def test_usps_comes_in_the_form_of_mnist(tmp_path: Path) -> None:
    from torchvision.datasets import USPS

    write_usps(tmp_path)
    part, other = module("usps", tmp_path).split(train=False), USPS(str(tmp_path), train=False)
    assert part.images.shape == (10, 1, 28, 28)
    assert not part.images[:, :, :4].any()
    assert part.labels.tolist() == other.targets
    corner = part.images[:, 0, 4, 4].int().numpy()  # of the box, and of the image of 16 x 16
    assert np.abs(corner - other.data[:, 0, 0]).max() <= 1  # torchvision rounds down


def test_what_is_nowhere_to_be_downloaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"published at https://.*; put emnist-letters-train-imag"):
        module("emnist", tmp_path, "letters").split(train=True)
    with pytest.raises(InputError, match=r"published at http://.*; put k49-train-imgs.npz, k49"):
        module("kuzushiji49", tmp_path).split(train=True)


def _labels_too_high(root: Path) -> str:
    np.savez(root / "k49-test-labels.npz", np.full(49, 49, np.uint8))
    return r"k49-test-labels\.npz: label 49 found, 0 to 48 required"


def _objects(root: Path) -> str:
    np.savez(root / "k49-test-labels.npz", np.array([{}], object))
    return r"k49-test-labels\.npz: not an \.npz file of numbers: Object arrays cannot be loaded"


def _no_zip(root: Path) -> str:
    (root / "k49-test-imgs.npz").write_bytes(b"\x80\x04" + bytes(100))
    return r"k49-test-imgs\.npz: not an \.npz file of numbers: File is not a zip file"


def _shape(root: Path) -> str:
    np.savez(root / "k49-test-imgs.npz", np.zeros((49, 20, 20), np.uint8))
    return r"k49-test-imgs\.npz: uint8 \(49, 20, 20\) found, uint8 \(N, 28, 28\) required"


def _fewer_labels(root: Path) -> str:
    np.savez(root / "k49-test-labels.npz", np.zeros(48, np.uint8))
    return r"k49-test-labels\.npz: 48 labels for the 49 of .*k49-test-imgs\.npz"


@pytest.mark.parametrize(
    "damage", [_labels_too_high, _objects, _no_zip, _shape, _fewer_labels], ids=lambda f: f.__name__
)
def test_a_damaged_npz_is_named(damage: Callable[[Path], str], tmp_path: Path) -> None:
    write_kuzushiji49(tmp_path)
    reason = damage(tmp_path)
    with pytest.raises(InputError, match=reason) as caught:
        module("kuzushiji49", tmp_path).split(train=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("3 1:0 2:1", "a label and 256 numbered values a line are required"),
        ("3 1:x", "not LIBSVM's text: could not convert string 'x'"),
        ("3 " + " ".join(f"{at}:2" for at in range(1, 257)), "values from -1 to 1 are required"),
    ],
)
def test_a_damaged_usps_is_named(text: str, reason: str, tmp_path: Path) -> None:
    write_usps(tmp_path)
    (tmp_path / "usps.t.bz2").write_bytes(bz2.compress(text.encode()))
    with pytest.raises(InputError, match=rf"usps\.t\.bz2: {reason}"):
        module("usps", tmp_path).split(train=False)


def test_labels_of_qmnist_in_another_type_are_refused(tmp_path: Path) -> None:
    write_qmnist(tmp_path)
    path = tmp_path / "QMNIST" / "raw" / "qmnist-test-labels-idx2-int"
    path.write_bytes(idx(np.zeros((10, 8), np.uint8)))
    with pytest.raises(InputError, match="not an IDX file of int32 with 2 dimensions"):
        module("qmnist", tmp_path).split(train=False)
