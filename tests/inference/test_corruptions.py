"""Corruptions change images as they say, the same from the same seed."""

import pytest
import torch

from mnist_lab.data.mnist_files import Split
from mnist_lab.inference.corruptions import CORRUPTIONS, corrupted, moved

MNIST_C = {
    *("shot_noise", "impulse_noise", "glass_blur", "motion_blur", "shear", "scale", "rotate"),
    *("brightness", "translate", "stripe", "fog", "spatter", "dotted_line", "zigzag"),
    "canny_edges",
}


def test_they_are_those_of_mnist_c() -> None:
    assert set(CORRUPTIONS) == MNIST_C


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_changes_every_image_the_same_from_the_same_seed(name: str, mnist_test: Split) -> None:
    images = mnist_test.images[:64]
    before = images.clone()
    changed = corrupted(images, name)
    assert (changed.shape, changed.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)
    assert (changed != images).flatten(1).any(dim=1).all()
    assert torch.equal(corrupted(images, name), changed)
    is_random = name not in ("brightness", "stripe", "canny_edges")
    assert torch.equal(corrupted(images, name, seed=1), changed) != is_random


def test_moved_moves_as_it_says() -> None:
    dot = torch.zeros(1, 1, 28, 28)
    dot[0, 0, 10, 20] = 1.0
    shifted = moved(dot, right=3.0, down=5.0)
    assert shifted[0, 0, 15, 23] == pytest.approx(1.0, abs=1e-4)
    upright = moved(dot, degrees=90.0)  # against the clock: from the upper right to the upper left
    assert upright[0, 0, 7, 10] == pytest.approx(1.0, abs=1e-4)
    square = torch.zeros(1, 1, 28, 28)
    square[0, 0, 4:24, 4:24] = 1.0
    assert float(moved(square, zoom=0.5).sum()) == pytest.approx(100, rel=0.05)


def test_strengths() -> None:
    blank = torch.zeros(50, 1, 28, 28, dtype=torch.uint8)
    white = corrupted(blank, "impulse_noise").float().mean() / 255
    assert float(white) == pytest.approx(0.1, abs=0.01)
    assert corrupted(blank, "brightness").float().mean() == pytest.approx(127.5, abs=1)
    stripe = corrupted(blank, "stripe")[0, 0]
    assert int((stripe == 255).sum()) == 28 * 6
    assert not corrupted(blank, "canny_edges").any()
    assert not corrupted(blank, "shot_noise").any()


def test_edges_of_a_square_are_its_outline() -> None:
    square = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    square[0, 0, 8:20, 8:20] = 255
    edges = corrupted(square, "canny_edges")[0, 0] == 255
    rows, columns = edges.nonzero().unbind(1)
    assert 6 <= int(rows.min()) <= 8 <= 19 <= int(rows.max()) <= 21
    assert not edges[12:16, 12:16].any()
    assert 36 <= len(columns) <= 60  # one pixel wide, around a square of 12
