"""Images of digits, in whatever form they come, are brought into that of MNIST's."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from door import run
from PIL import Image, ImageDraw, ImageOps
from sklearn.datasets import load_digits

from mnist_lab.data.mnist_files import Split
from mnist_lab.inference.digit_finder import to_inputs
from mnist_lab.inference.predict import open_run
from mnist_lab.models import Classifier

COUNT = 200
_chance = np.random.default_rng(0)


def to_mnist(image: Image.Image) -> np.ndarray:
    """Return the only digit in an image."""
    (digit,) = to_inputs(image)
    return digit


def as_jpeg(image: Image.Image, quality: int = 60) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def pasted(image: Image.Image, scale: int = 1) -> Image.Image:
    side = 28 * scale
    canvas = Image.new("L", (640, 480))
    place = (int(_chance.integers(640 - side)), int(_chance.integers(480 - side)))
    canvas.paste(image.resize((side, side), Image.Resampling.BICUBIC), place)
    return canvas


def with_alpha(image: Image.Image, shade: int) -> Image.Image:
    ink = Image.new("RGBA", image.size, (shade, shade, shade, 0))
    ink.putalpha(image)
    return ink


def photo(image: Image.Image) -> Image.Image:
    """Pen on paper, lit from one side, with noise and as a JPEG."""
    ink = np.asarray(pasted(image, 8), np.float32) / 255
    rows, columns = np.mgrid[-1:1:480j, -1:1:640j]
    paper = 170 + 40 * columns - 30 * rows - 20 * rows * columns
    shades = paper * (1 - 0.6 * ink) + _chance.normal(0, 6, ink.shape)
    return as_jpeg(Image.fromarray(shades.clip(0, 255).astype(np.uint8)).convert("RGB"), 75)


def on_a_desk(image: Image.Image) -> Image.Image:
    """A sheet of paper, askew on a brown desk."""
    sheet = Image.new("RGB", (700, 900), (235, 235, 230))
    digit = image.resize((400, 400), Image.Resampling.BICUBIC)
    sheet.paste((20, 20, 90), (150, 200), digit)
    desk = Image.new("RGB", (1600, 1200), (90, 60, 40))
    desk.paste(sheet.rotate(4, expand=True, fillcolor=(90, 60, 40)), (500, 100))
    return as_jpeg(desk)


def sixteen_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


UNCHANGED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "itself": lambda image: image,
    "inverted": ImageOps.invert,
    "rgb": lambda image: image.convert("RGB"),
    "palette": lambda image: image.convert("P"),
    "gray and alpha": lambda image: image.convert("LA"),
    "16 bits": sixteen_bits,
    "transparent paper, black ink": lambda image: with_alpha(image, 0),
    "transparent paper, white ink": lambda image: with_alpha(image, 255),
}
RECOGNISED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "300x300": lambda image: image.resize((300, 300), Image.Resampling.BICUBIC),
    "200x300": lambda image: image.resize((200, 300), Image.Resampling.BICUBIC),
    "padded to 200x300": lambda image: ImageOps.pad(image, (200, 300)),
    "pasted": pasted,
    "pasted, dark on light": lambda image: ImageOps.invert(pasted(image)),
    "pasted, large": lambda image: pasted(image, 10),
    "pasted, as JPEG": lambda image: as_jpeg(pasted(image, 4)),
    "red on white": lambda image: ImageOps.colorize(image, "white", (200, 20, 30)),
    "red on green as bright": lambda image: ImageOps.colorize(image, (0, 130, 0), (255, 0, 0)),
    "JPEG": as_jpeg,
    "JPEG, inverted": lambda image: as_jpeg(ImageOps.invert(image)),
    "CMYK": lambda image: image.convert("CMYK"),
    "two colours": lambda image: image.convert("1", dither=Image.Dither.NONE),
    "photo": photo,
    "on a desk": on_a_desk,
}


@pytest.fixture(scope="module")
def model(trained: Path) -> Classifier:
    return open_run(trained).model


@pytest.fixture(scope="module")
def images(mnist_test: Split) -> list[Image.Image]:
    return [Image.fromarray(one) for one in mnist_test.images[:COUNT, 0].numpy()]


@torch.inference_mode()
def answers(model: Classifier, pixels: list[np.ndarray]) -> np.ndarray:
    return model(torch.from_numpy(np.stack(pixels))[:, None]).argmax(dim=1).numpy()


def test_all_of_mnist_passes_unchanged(mnist_test: Split) -> None:
    for pixels in mnist_test.images[:, 0].numpy():
        assert to_mnist(Image.fromarray(pixels)).tobytes() == pixels.tobytes()


@pytest.mark.parametrize("name", UNCHANGED)
def test_an_mnist_image_in_another_mode_is_the_same(name: str, images: list[Image.Image]) -> None:
    for image in images:
        assert to_mnist(UNCHANGED[name](image)).tobytes() == image.tobytes()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    [
        name if name in ("200x300", "pasted") else pytest.param(name, marks=pytest.mark.slow)
        for name in RECOGNISED
    ],
)
def test_gets_the_models_own_answer(
    name: str, images: list[Image.Image], model: Classifier
) -> None:
    own = answers(model, [np.asarray(image) for image in images])
    found = answers(model, [to_mnist(RECOGNISED[name](image)) for image in images])
    assert (found == own).mean() >= 0.97


def other_writers(model: Classifier) -> float:
    """Return the share of scikit-learn's 1,797 digits, of 8 x 8 pixels, that are recognised."""
    digits = load_digits()
    pixels = (digits.images * (255 / 16)).astype(np.uint8)
    found = answers(model, [to_mnist(Image.fromarray(one)) for one in pixels])
    return float((found == digits.target).mean())


@pytest.mark.thorough
def test_other_writers(model: Classifier) -> None:
    assert other_writers(model) >= 0.85  # after two epochs


@pytest.mark.slow
def test_other_writers_with_the_default_cnn(tmp_path: Path) -> None:
    done = run("train model=cnn logger=none hydra.run.dir=run", tmp_path)
    assert done.returncode == 0, done.stderr
    assert other_writers(open_run(tmp_path / "run").model) >= 0.92


@pytest.mark.thorough
def test_what_it_returns_is_as_mnist_and_stays(images: list[Image.Image]) -> None:
    for image in images[:50]:
        pixels = to_mnist(image.resize((300, 300), Image.Resampling.BICUBIC))
        rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
        assert to_mnist(Image.fromarray(pixels)).tobytes() == pixels.tobytes()


@pytest.mark.parametrize(
    "image",
    [
        Image.new("L", (28, 28)),
        Image.new("L", (640, 480), 255),
        Image.new("RGB", (100, 80), (10, 200, 90)),
        Image.new("RGBA", (100, 80)),
        Image.new("I;16", (100, 80), 700),
        Image.new("F", (100, 80)),
        Image.fromarray(np.full((50, 50), np.nan, np.float32)),
        Image.fromarray(_chance.integers(118, 122, (200, 300), dtype=np.uint8)),
        Image.linear_gradient("L"),
    ],
    ids=lambda image: f"{image.mode} {image.size} {image.getextrema()}",
)
def test_where_nothing_is_it_finds_nothing(image: Image.Image) -> None:
    assert not to_mnist(image).any()


@pytest.mark.parametrize("width", [1, 3, 8, 20, 60])
def test_a_pen_of_any_width(width: int, model: Classifier) -> None:
    canvas = Image.new("RGB", (640, 480), "white")
    stroke = [(200, 90), (420, 90), (280, 400)]
    ImageDraw.Draw(canvas).line(stroke, "black", width, joint="curve")
    assert answers(model, [to_mnist(canvas)]) == [7]


def test_a_small_digit_in_a_large_image(images: list[Image.Image], model: Classifier) -> None:
    canvas = Image.new("L", (4000, 3000), 255)
    canvas.paste(ImageOps.invert(images[0]).resize((112, 112)), (3000, 500))
    assert answers(model, [to_mnist(canvas)]) == [7]


def test_a_photo_that_was_held_sideways(images: list[Image.Image], model: Classifier) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    turned = images[0].resize((300, 300)).rotate(90)
    buffer = io.BytesIO()
    turned.save(buffer, "JPEG", exif=exif)
    assert answers(model, [to_mnist(Image.open(buffer))]) == [7]
