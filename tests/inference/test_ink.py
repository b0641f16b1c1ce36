"""Digits are read from the paper that people write on: ruled, squared, boxed, under a shadow."""

from pathlib import Path

import numpy as np
import pytest
import torch
from papers import PAPERS
from PIL import Image

from mnist_lab.data.mnist_files import Split
from mnist_lab.inference.digit_finder import to_inputs
from mnist_lab.inference.predict import open_run
from mnist_lab.models import Classifier

COUNT = 20  # images of a paper
OF_DIGITS = ("qmnist", "usps", "emnist", "digits")


@pytest.fixture(scope="module")
def model(trained: Path) -> Classifier:
    return open_run(trained).model


@pytest.fixture(scope="module")
@torch.inference_mode()
def known(model: Classifier, mnist_test: Split) -> np.ndarray:
    """The numbers of test digits that the model knows as they are."""
    preds = model(mnist_test.images[:2000]).argmax(dim=1)
    return (preds == mnist_test.labels[:2000]).nonzero().flatten().numpy()


@torch.inference_mode()
def read(model: Classifier, image: Image.Image) -> list[int]:
    return model(torch.from_numpy(np.stack(to_inputs(image)))[:, None]).argmax(dim=1).tolist()


def num_read(
    paper: str, num_digits: int, count: int, model: Classifier, known: np.ndarray, mnist: Split
) -> int:
    """Return the number of drawn images of which every digit is read, and nothing else."""
    right = 0
    for seed in range(count):
        chance = np.random.default_rng([seed, num_digits])
        numbers = chance.choice(known, size=num_digits)
        image = PAPERS[paper](chance, mnist.images[numbers, 0].numpy())
        right += read(model, image) == mnist.labels[numbers].tolist()
    return right


@pytest.mark.thorough
@pytest.mark.parametrize("paper", PAPERS)
def test_reads_a_digit(paper: str, model: Classifier, known: np.ndarray, mnist_test: Split) -> None:
    assert num_read(paper, 1, COUNT, model, known, mnist_test) >= 0.9 * COUNT


@pytest.mark.thorough
@pytest.mark.parametrize("paper", PAPERS)
def test_reads_three_digits_in_a_row(
    paper: str, model: Classifier, known: np.ndarray, mnist_test: Split
) -> None:
    assert num_read(paper, 3, COUNT // 2, model, known, mnist_test) >= 0.8 * COUNT // 2


@pytest.mark.slow
@pytest.mark.parametrize("num_digits", [1, 3])
@pytest.mark.parametrize("paper", PAPERS)
def test_reads_nine_of_ten(
    paper: str, num_digits: int, model: Classifier, known: np.ndarray, mnist_test: Split
) -> None:
    right = num_read(paper, num_digits, 100, model, known, mnist_test)
    print(f"{paper}, {num_digits} digits: {right} of 100")
    assert right >= 90


def test_digits_of_mnist_side_by_side(model: Classifier, mnist_test: Split) -> None:
    pixels = mnist_test.images[:5, 0].numpy()
    for array in (np.hstack(pixels), 255 - np.hstack(pixels)):
        image = Image.fromarray(array)
        assert read(model, image) == [7, 2, 1, 0, 4]
        assert read(model, image.resize((image.width * 4, image.height * 4))) == [7, 2, 1, 0, 4]


def test_rows_are_read_like_text(model: Classifier, mnist_test: Split) -> None:
    pixels = mnist_test.images[:6, 0].numpy()
    page = np.vstack([np.hstack(pixels[:3]), np.hstack(pixels[3:])])
    image = Image.fromarray(255 - page).resize((84 * 5, 56 * 5), Image.Resampling.BICUBIC)
    assert read(model, image) == mnist_test.labels[:6].tolist()


def test_a_digit_in_two_parts_is_one(model: Classifier) -> None:
    canvas = Image.new("L", (300, 300), 255)
    pen = np.asarray(canvas).copy()
    pen[60:74, 110:200] = 0  # the bar of a five, which does not touch its body
    pen[84:150, 110:124] = 0
    pen[140:154, 110:190] = 0
    pen[150:230, 180:194] = 0
    pen[220:234, 105:194] = 0
    assert read(model, Image.fromarray(pen)) == [5]


def test_other_sets_have_one_input_an_image() -> None:
    canvas = np.full((200, 300), 255, np.uint8)
    canvas[40:160, 60:90] = canvas[40:160, 200:230] = 0
    assert len(to_inputs(Image.fromarray(canvas))) == 2
    assert [len(to_inputs(Image.fromarray(canvas), name)) for name in OF_DIGITS] == [2, 2, 2, 2]
    assert len(to_inputs(Image.fromarray(canvas), "kmnist")) == 1


@pytest.mark.parametrize("shade", [0, 140])
def test_a_texture_has_no_digits(shade: int) -> None:
    canvas = np.full((400, 600), 255, np.uint8)
    for y in range(10, 390, 20):
        for x in range(10, 590, 20):
            canvas[y : y + 12, x : x + 6] = shade
    (nothing,) = to_inputs(Image.fromarray(canvas))
    assert not nothing.any()


@pytest.mark.parametrize(("ways", "turned"), [("-", 0), ("-", 2), ("-|", 0), ("-|", -2)])
@pytest.mark.parametrize("ink", [0, 60])
def test_empty_ruled_paper_has_no_digit(ways: str, turned: float, ink: int) -> None:
    sheet = np.full((700, 900), 245, np.uint8)
    sheet[::40] = ink
    if "|" in ways:
        sheet[:, ::40] = ink
    image = Image.fromarray(sheet).rotate(turned, Image.Resampling.BICUBIC, fillcolor=245)
    (nothing,) = to_inputs(image.crop((80, 80, 820, 620)))
    assert not nothing.any()
