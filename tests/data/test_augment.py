import functools
import math
import time
from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from mnist_lab.data import augment
from mnist_lab.data.augment import affine, cutout, elastic, random_crop
from mnist_lab.data.mnist_files import Split
from mnist_lab.data.sets import AUGMENTS

Change = Callable[[Tensor, Generator], Tensor]
both = pytest.mark.parametrize("change", [affine, elastic], ids=AUGMENTS[:2])
each = pytest.mark.parametrize("change", [affine, elastic, random_crop, cutout], ids=AUGMENTS[:4])


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def only(**amounts: float) -> Change:
    """Return the affine change with only some of its amounts."""
    return functools.partial(affine, **{"degrees": 0, "shift": 0, "zoom": 0, "shear": 0} | amounts)


def centers(images: Tensor) -> Tensor:
    """Centers of mass ``(B, 2)``, x then y, in pixels from the middle of the image."""
    mass = images.squeeze(1).double()
    at = torch.arange(28.0, dtype=torch.double) - 13.5
    weights = mass.sum(dim=(1, 2))
    x, y = mass.sum(dim=1) @ at / weights, mass.sum(dim=2) @ at / weights
    return torch.stack((x, y), dim=1)


def angles(images: Tensor) -> Tensor:
    """Direction of the longer axis of each image in degrees, 0 to 180, from the x axis down."""
    mass = images.squeeze(1).double()
    center = centers(images)
    at = torch.arange(28.0, dtype=torch.double) - 13.5
    x = at.view(1, 1, 28) - center[:, 0].view(-1, 1, 1)
    y = at.view(1, 28, 1) - center[:, 1].view(-1, 1, 1)
    xx, yy, xy = ((mass * part).sum(dim=(1, 2)) for part in (x * x, y * y, x * y))
    return (torch.atan2(2 * xy, xx - yy) / 2 * 180 / math.pi) % 180


def dot(count: int) -> Tensor:
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 12:16, 12:16] = 255
    return images


def line(count: int) -> Tensor:
    """A vertical bar through the middle."""
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 5:23, 12:16] = 255
    return images


@each
def test_generator_determines_the_change(mnist_train: Split, change: Change) -> None:
    images = mnist_train.images[:64]
    one = change(images, seeded(1))
    assert torch.equal(one, change(images, seeded(1)))
    assert not torch.equal(one, change(images, seeded(2)))
    generator = seeded(1)
    change(images, generator)
    assert not torch.equal(one, change(images, generator))  # the next draw is another


@each
@pytest.mark.parametrize("count", [1, 2, 127])
def test_shape_and_type_stay(mnist_train: Split, change: Change, count: int) -> None:
    images = mnist_train.images[:count]
    before = images.clone()
    changed = change(images, seeded())
    assert changed.shape == images.shape
    assert changed.dtype == torch.uint8
    assert torch.equal(images, before)
    floats = images / 255
    assert (change(floats, seeded()) * 255 - changed).abs().max() < 0.51


@both
def test_digits_move_and_keep_their_ink(mnist_train: Split, change: Change) -> None:
    images = mnist_train.images[:1000]
    changed = change(images, seeded())
    ink = changed.float().sum(dim=(1, 2, 3)) / images.float().sum(dim=(1, 2, 3))
    assert ink.mean().item() == pytest.approx(1, abs=0.05)
    assert ink.min() > 0.5
    assert ink.max() < 1.6
    moved = (changed.float() - images.float()).abs().sum(dim=(1, 2, 3))
    assert (moved / images.float().sum(dim=(1, 2, 3))).min() > 0.05


@both
def test_each_image_has_a_change_of_its_own(change: Change) -> None:
    changed = change(line(200), seeded())
    assert len({image.numpy().tobytes() for image in changed}) == 200


def test_affine_shifts_up_to_a_tenth_each_way() -> None:
    change = only(shift=augment.SHIFT)
    moved = centers(change(dot(2000), seeded()))
    for axis in range(2):
        assert moved[:, axis].min().item() == pytest.approx(-2.8, abs=0.1)
        assert moved[:, axis].max().item() == pytest.approx(2.8, abs=0.1)
        assert moved[:, axis].mean().item() == pytest.approx(0, abs=0.15)
    assert abs(torch.corrcoef(moved.T)[0, 1]) < 0.1  # the two are independent


def test_affine_turns_by_the_degrees_each_way() -> None:
    change = only(degrees=augment.DEGREES)
    turned = change(line(2000), seeded())
    assert angles(turned).min().item() == pytest.approx(90 - augment.DEGREES, abs=0.5)
    assert angles(turned).max().item() == pytest.approx(90 + augment.DEGREES, abs=0.5)
    assert centers(turned).abs().max() < 0.1  # about the middle
    assert 10 <= augment.DEGREES <= 15  # as in the literature


def test_affine_zooms_each_axis_by_itself() -> None:
    change = only(zoom=augment.ZOOM)
    ink = change(dot(2000), seeded()).float() / 255
    width, height = ink.sum(dim=2).amax(dim=2), ink.sum(dim=3).amax(dim=2)
    for side in (width, height):
        assert side.min().item() == pytest.approx(4 / 1.1, abs=0.1)
        assert side.max().item() == pytest.approx(4 / 0.9, abs=0.1)
    assert (width - height).abs().max() > 0.3


def test_affine_shears() -> None:
    change = only(shear=augment.SHEAR)
    leaning = angles(change(line(2000), seeded()))
    widest = math.degrees(math.atan(augment.SHEAR))
    assert leaning.min().item() == pytest.approx(90 - widest, abs=0.7)
    assert leaning.max().item() == pytest.approx(90 + widest, abs=0.7)


def test_affine_of_nothing_is_the_identity(mnist_train: Split) -> None:
    change = only()
    images = mnist_train.images[:500]
    assert (change(images, seeded()).int() - images.int()).abs().max() <= 1


def test_elastic_of_nothing_is_the_identity(mnist_train: Split) -> None:
    images = mnist_train.images[:500]
    assert (elastic(images, seeded(), alpha=0).int() - images.int()).abs().max() <= 1


def test_elastic_displaces_smoothly_by_a_pixel_or_so() -> None:
    # What is sampled are the columns' own numbers, so that the result tells where it came from.
    ramp = (torch.arange(28) * 9).to(torch.uint8).expand(500, 1, 28, 28)
    taken_from = elastic(ramp, seeded()).float().squeeze(1) / 9
    middle = (slice(None), slice(8, 20), slice(8, 20))
    displaced = (taken_from - torch.arange(28.0))[middle]
    # The deviation of uniform noise, smoothed along both axes by a Gaussian.
    expected = augment.ALPHA / math.sqrt(3) / (2 * math.sqrt(math.pi) * augment.SIGMA)
    assert displaced.std().item() == pytest.approx(expected, rel=0.1)
    assert 0.8 < expected < 1.5
    assert displaced.mean().item() == pytest.approx(0, abs=0.15)
    rough = (displaced[:, :, 1:] - displaced[:, :, :-1]).std().item()
    assert rough < expected / 3  # neighbours go together


@each
def test_a_batch_costs_a_few_milliseconds(mnist_train: Split, change: Change) -> None:
    images, generator = mnist_train.images[:128], seeded()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        change(images, generator)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02  # 1 ms on a free core; a loop over samples takes 20 or more


def test_a_crop_moves_each_image_by_whole_pixels() -> None:
    moved = centers(random_crop(dot(500), seeded(), padding=3))
    places = {(round(x), round(y)) for x, y in (moved - moved.round()).abs().tolist()}
    assert places == {(0, 0)}
    assert {tuple(place) for place in moved.int().tolist()} == {
        (x, y) for x in range(-3, 4) for y in range(-3, 4)
    }


def test_a_cutout_is_a_square_anywhere() -> None:
    white = torch.full((2000, 2, 28, 28), 255, dtype=torch.uint8)
    black = cutout(white, seeded(), size=5) == 0
    assert torch.equal(black[:, 0], black[:, 1])
    sizes = black[:, 0].sum((1, 2))
    assert sizes.max() == 25
    assert sizes.min() == 9  # in a corner
    assert (black[:, 0].any(2).sum(1) * black[:, 0].any(1).sum(1) == sizes).all()
    assert black.any(0).all()
