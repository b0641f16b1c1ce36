"""A stack's batches are those of each data seed's lone loader."""

import pytest
import torch

from mnist_lab import MNISTDataModule
from mnist_lab.training.stacked.data import StackedData, StackedLoader


def _loader(augment: str | None, seeds: tuple[int, ...]) -> StackedLoader:
    data = MNISTDataModule(batch_size=700, val_size=58_000, augment=augment, seed=5)
    loader = StackedData(data, lambda: tuple((seed, None) for seed in seeds)).train_dataloader()
    assert isinstance(loader, StackedLoader)
    return loader


@pytest.mark.parametrize("augment", [None, "affine"])
@pytest.mark.parametrize("seeds", [(3,), (3, 1, 7)])
def test_batches_are_those_of_lone_loaders(augment: str | None, seeds: tuple[int, ...]) -> None:
    loader = _loader(augment, seeds)
    loader.set_epoch(4)
    batches = list(loader)
    assert len(batches) == len(loader) == 3
    assert [len(labels[0]) for _, labels in batches] == [700, 700, 600]
    for row, seed in enumerate(seeds):
        data = MNISTDataModule(batch_size=700, val_size=58_000, augment=augment, seed=seed)
        lone = data.train_dataloader()
        lone.set_epoch(4)
        for (images, labels), (its_images, its_labels) in zip(batches, lone, strict=True):
            assert images.dtype == torch.uint8
            assert torch.equal(images[row], its_images)
            assert torch.equal(labels[row], its_labels)
    assert len(list(loader)) == 3


def test_no_seeds_are_no_batches() -> None:
    assert list(_loader(None, ())) == []


def test_the_other_splits_are_served_once_for_all() -> None:
    data = StackedData(MNISTDataModule(val_size=1500), lambda: ((0, None), (1, None)))
    assert [len(labels) for _, labels in data.val_dataloader()] == [1000, 500]
    assert len(data.test_dataloader()) == 10
    assert StackedData(MNISTDataModule(val_size=0), lambda: ((0, None),)).val_dataloader() == []
