import pytest
import torch
from torch import Generator, Tensor

from mnist_lab.data.augment_list import Augmentation
from mnist_lab.data.loader import GATHERED_AT_ONCE, BatchLoader
from mnist_lab.data.mnist_files import Split

AFFINE, ELASTIC = Augmentation("affine"), Augmentation("elastic")
COUNT = 1003  # 7 batches of 128 and one of 107


def loader(split: Split, count: int = COUNT, **options: object) -> BatchLoader:
    """A loader over real digits whose label is their position."""
    options = {"batch_size": 128, "shuffle": True, **options}
    return BatchLoader(split.images[:count], torch.arange(count), **options)  # type: ignore[arg-type]


def positions(batches: BatchLoader) -> list[int]:
    return torch.cat([labels for _, labels, *_ in batches]).tolist()


def test_order_is_a_function_of_seed_and_epoch(mnist_train: Split) -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        batches = loader(mnist_train, seed=seed)
        batches.set_epoch(epoch)
        return tuple(positions(batches))

    keys = [(seed, epoch) for seed in (0, 1, 2**32 - 1) for epoch in (0, 1, 2)]
    orders = [order(*key) for key in keys]
    assert len(set(orders)) == len(keys)
    assert [order(*key) for key in keys] == orders


def test_order_does_not_touch_the_global_generator(mnist_train: Split) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    list(loader(mnist_train, augment=AFFINE))
    assert torch.equal(torch.rand(1), expected)


def test_same_epoch_twice_is_the_same(mnist_train: Split) -> None:
    batches = loader(mnist_train, augment=ELASTIC)
    for (images, labels), (again, labels_again) in zip(batches, batches, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 128, COUNT - 1, COUNT, COUNT + 1, 10**9])
def test_every_sample_comes_once_with_its_own_label(
    mnist_train: Split, batch_size: int, shuffle: bool
) -> None:
    batches = loader(mnist_train, batch_size=batch_size, shuffle=shuffle)
    found = list(batches)
    assert len(batches) == len(found) == -(-COUNT // batch_size)
    assert [len(labels) for _, labels in found[:-1]] == [batch_size] * (len(found) - 1)
    order = torch.cat([labels for _, labels in found])
    assert torch.equal(order.sort().values, torch.arange(COUNT))
    assert torch.equal(order, torch.arange(COUNT)) != shuffle
    images = torch.cat([images for images, _ in found])
    assert images.dtype == torch.uint8
    assert torch.equal(images, mnist_train.images[order])


def test_every_sample_comes_once_over_several_gathers(mnist_train: Split) -> None:
    count = 3 * GATHERED_AT_ONCE + 5
    assert sorted(positions(loader(mnist_train, count))) == list(range(count))


@pytest.mark.parametrize("augment", [None, AFFINE, ELASTIC])
@pytest.mark.parametrize("count", [COUNT, 1025])  # the last batch of 1,025 has a single sample
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_ranks_together_give_the_global_batches(
    mnist_train: Split, ranks: int, count: int, augment: object
) -> None:
    options = {"seed": 5, "augment": augment}
    whole = loader(mnist_train, count, **options)
    shares = [loader(mnist_train, count, **options, rank=r, world_size=ranks) for r in range(ranks)]
    for batches in (whole, *shares):
        batches.set_epoch(2)
        assert len(batches) == len(whole)
    for (images, labels), *parts in zip(whole, *shares, strict=True):
        images_again, labels_again = torch.empty_like(images), torch.empty_like(labels)
        sizes = [len(part[1]) for part in parts]
        assert sum(sizes) == len(labels)
        assert max(sizes) - min(sizes) <= 1
        for rank, (some_images, some_labels, *global_size) in enumerate(parts):
            images_again[rank::ranks], labels_again[rank::ranks] = some_images, some_labels
            assert global_size == ([len(labels)] if ranks > 1 else [])
        assert torch.equal(images, images_again)
        assert torch.equal(labels, labels_again)


def test_augmentation_depends_on_seed_epoch_and_position(mnist_train: Split) -> None:
    draws: list[float] = []

    def record(images: Tensor, labels: Tensor, generator: Generator, _: int) -> tuple[Tensor, ...]:
        draws.append(torch.rand(1, generator=generator).item())
        return images, labels

    for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1)):
        batches = loader(mnist_train, seed=seed, augment=record)
        batches.set_epoch(epoch)
        list(batches)
    assert len(set(draws)) == len(draws) == 4 * 8


def test_augmentation_leaves_the_set_as_it_is(mnist_train: Split) -> None:
    before = mnist_train.images[:COUNT].clone()
    list(loader(mnist_train, augment=AFFINE))
    assert torch.equal(mnist_train.images[:COUNT], before)


@pytest.mark.parametrize(
    ("count", "world_size"), [(209, 1), (209, 2), (209, 8), (211, 8), (200, 8)]
)
def test_last_size_is_the_smallest_share_of_the_last_batch(
    count: int, world_size: int, mnist_train: Split
) -> None:
    shares = [
        len([*loader(mnist_train, count, batch_size=100, rank=rank, world_size=world_size)][-1][1])
        for rank in range(world_size)
    ]
    batches = loader(mnist_train, count, batch_size=100, world_size=world_size)
    assert batches.last_size == min(shares)
