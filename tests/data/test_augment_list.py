import re
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torchvision.transforms import v2

from mnist_lab import MNISTDataModule
from mnist_lab.data.augment import affine, cutout
from mnist_lab.data.augment_list import Augmentation
from mnist_lab.data.mnist_files import Split
from mnist_lab.errors import ConfigError


class Pair(nn.Module):
    """Returns what is no image."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


class Noise(nn.Module):
    """A module of one's own: the whole batch at once."""

    def forward(self, images: Tensor) -> Tensor:
        return images ^ torch.randint(0, 8, images.shape, dtype=torch.uint8)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def changed(split: Split, changes: Any, seed: int = 0, count: int = 64) -> tuple[Tensor, Tensor]:
    return Augmentation(changes)(split.images[:count], split.labels[:count], seeded(seed), 10)


def test_a_name_alone_draws_as_it_did_before_there_were_lists(mnist_train: Split) -> None:
    images, labels = changed(mnist_train, "affine")
    assert torch.equal(images, affine(mnist_train.images[:64], seeded()))
    assert torch.equal(labels, mnist_train.labels[:64])
    assert torch.equal(changed(mnist_train, ["affine"])[0], images)


def test_changes_come_one_after_the_other_with_their_arguments(mnist_train: Split) -> None:
    images, _ = changed(mnist_train, [{"name": "affine", "degrees": 90}, {"name": "cutout"}])
    generator = seeded()
    turned = affine(mnist_train.images[:64], generator, degrees=90)
    assert torch.equal(images, cutout(turned, generator))


@pytest.mark.parametrize(
    "change",
    [
        v2.RandomRotation(40),
        v2.RandomApply([v2.RandomAffine(0, (0.2, 0.2)), v2.GaussianBlur(3)], p=0.7),
        v2.RandomErasing(p=1, value="random"),
        v2.MixUp(alpha=0.5),
        v2.CutMix(),
        Noise(),
        "mixup",
    ],
    ids=lambda change: type(change).__name__,
)
def test_modules_draw_from_the_generator_of_the_batch_alone(
    mnist_train: Split, change: Any
) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    ways = [changed(mnist_train, change, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    (first, labels), (again, labels_again), (other, _) = ways
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert torch.equal(labels, labels_again)
    assert not torch.equal(first, other)


def test_each_image_has_a_change_of_torchvisions_of_its_own() -> None:
    bar = torch.zeros(50, 1, 28, 28, dtype=torch.uint8)
    bar[:, :, 5:23, 12:16] = 255
    augmentation = Augmentation(v2.RandomRotation(40))
    images, _ = augmentation(bar, torch.zeros(50, dtype=torch.long), seeded(), 10)
    assert len({image.numpy().tobytes() for image in images}) > 25


def test_mixed_images_have_shares_of_two_classes(mnist_train: Split) -> None:
    images, labels = changed(mnist_train, [{"name": "mixup", "alpha": 1.0}, "mixup"], seed=3)
    assert labels.shape == (64, 10)
    torch.testing.assert_close(labels.sum(1), torch.ones(64))
    once, shares = changed(mnist_train, {"name": "mixup", "alpha": 1.0}, seed=3)
    own = mnist_train.labels[:64]
    share = shares[own != own.roll(1)].gather(1, own[own != own.roll(1), None])
    assert share.std() < 1e-6
    expected = mnist_train.images[:64].float() * share[0]
    expected += mnist_train.images[:64].roll(1, 0).float() * (1 - share[0])
    assert (once - expected).abs().max() < 0.6
    assert not torch.equal(images, once)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("flip", "data.augment=flip: must be affine, elastic, random_crop, cutout, mixup, a "),
        ([3], "data.augment.0=3: must be affine"),
        (["affine", {"size": 3}], "data.augment.1={'size': 3}: must be affine"),
        ({"name": "mixup", "beta": 3}, "data.augment.beta: not taken by mixup; it takes alpha"),
        ([{"name": "affine", "generator": 1}], "it takes degrees, shift, zoom, shear"),
        ([{"name": "affine", "degrees": -1}], "data.augment.0.degrees=-1: must be from 0 to 180"),
        ([{"name": "cutout", "size": 3.5}], "data.augment.0.size=3.5: must be from 1 to 28"),
        ([{"name": "elastic", "alpha": float("nan")}], "alpha=nan: must be from 0 to 1,000"),
        (
            [v2.Grayscale(3)],
            "data.augment.0=Grayscale: must give images (2, 1, 28, 28); found (2, 3, 28, 28)",
        ),
        (
            [nn.Identity(), v2.Normalize([0.1], [0.3])],
            "data.augment.1=Normalize: does not take uint8 images: Input tensor should be",
        ),
        ([nn.Dropout(0.2)], "data.augment.0=Dropout: does not take uint8 images: result type"),
        ([Pair()], "data.augment.0=Pair: must give images (2, 1, 28, 28); found tuple"),
    ],
)
def test_a_wrong_change_is_one_line(changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        MNISTDataModule(augment=changes)
