import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from composing import compose
from torch import Tensor

from mnist_lab.data import MNISTDataModule
from mnist_lab.data.loader import BatchLoader
from mnist_lab.data.mnist_files import MNIST_SHA256, Split
from mnist_lab.data.sets import DATASETS, OWN
from mnist_lab.errors import ConfigError


def fingerprints(images: Tensor) -> set[bytes]:
    return {image.tobytes() for image in images.numpy()}


def as_rank(datamodule: MNISTDataModule, rank: int, world_size: int) -> MNISTDataModule:
    """Attach what the data module asks of a trainer, as on one rank of several."""
    datamodule.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=rank,
        world_size=world_size,
        overfit_batches=0,
        state=SimpleNamespace(fn="fit"),
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    return datamodule


def gather(batches: Any) -> tuple[Tensor, Tensor]:
    images, labels = zip(*((images, labels) for images, labels, *_ in batches), strict=True)
    return torch.cat(images), torch.cat(labels)


def test_sizes_without_trainer_and_setup() -> None:
    datamodule = MNISTDataModule()
    sizes = {}
    for split in ("train", "val", "test", "predict"):
        batches = getattr(datamodule, f"{split}_dataloader")()
        images, labels = gather(batches)
        assert images.shape == (len(labels), 1, 28, 28)
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        sizes[split] = len(labels)
    assert sizes == {"train": 55_000, "val": 5_000, "test": 10_000, "predict": 10_000}
    assert len(datamodule.train_dataloader()) == 430  # steps of 128


def test_validation_is_the_first_5000_training_images(mnist_train: Split) -> None:
    images, labels = gather(MNISTDataModule().val_dataloader())
    assert torch.equal(images, mnist_train.images[:5_000])
    assert torch.equal(labels, mnist_train.labels[:5_000])


def test_training_is_all_the_others(mnist_train: Split) -> None:
    batches = MNISTDataModule().train_dataloader()
    order = batches.order()
    images, labels = gather(batches)
    assert torch.equal(order.sort().values, torch.arange(5_000, 60_000))
    assert torch.equal(images, mnist_train.images[order])
    assert torch.equal(labels, mnist_train.labels[order])


def test_test_images_are_the_published_ones_in_order(mnist_test: Split) -> None:
    images, labels = gather(MNISTDataModule().test_dataloader())
    assert torch.equal(images, mnist_test.images)
    assert torch.equal(labels, mnist_test.labels)


@pytest.mark.parametrize("val_size", [0, 5_000])
def test_no_test_image_is_trained_or_validated_on(mnist_test: Split, val_size: int) -> None:
    datamodule = MNISTDataModule(val_size=val_size)
    seen = fingerprints(gather(datamodule.train_dataloader())[0])
    if val_size:
        seen |= fingerprints(gather(datamodule.val_dataloader())[0])
    assert not seen & fingerprints(mnist_test.images)


def test_split_seed_draws_other_validation_images(mnist_train: Split) -> None:
    def labels(split_seed: int | None) -> tuple[Tensor, Tensor]:
        datamodule = MNISTDataModule(split_seed=split_seed)
        # The labels' place is taken by the images' positions, which shows where each one went.
        at = mnist_train._replace(labels=torch.arange(60_000))
        datamodule._splits[True] = at
        return gather(datamodule.train_dataloader())[1], gather(datamodule.val_dataloader())[1]

    drawn = {seed: labels(seed) for seed in (None, 0, 1)}
    for train, val in drawn.values():
        assert (len(train), len(val)) == (55_000, 5_000)
        assert torch.equal(torch.cat((train, val)).sort().values, torch.arange(60_000))
    assert torch.equal(labels(1)[1], drawn[1][1])
    assert len({tuple(val.tolist()) for _, val in drawn.values()}) == 3
    assert drawn[None][1].tolist() == list(range(5_000))


def test_val_size_0_trains_on_all_60000() -> None:
    datamodule = MNISTDataModule(val_size=0)
    assert len(gather(datamodule.train_dataloader())[1]) == 60_000
    assert datamodule.val_dataloader() == []


@pytest.mark.parametrize("dataset", DATASETS)
def test_val_size_is_by_default_what_the_sets_config_says(dataset: str) -> None:
    root = "/place" if dataset in OWN else None
    split = "balanced" if dataset == "emnist" else None
    config = compose(f"data={dataset}", *([f"data.root={root}"] if root else []))
    datamodule = MNISTDataModule(dataset, root, split=split)
    assert datamodule._val_size == config.data.val_size


def test_largest_val_size_leaves_one_training_image() -> None:
    datamodule = MNISTDataModule(val_size=59_999)
    assert len(gather(datamodule.train_dataloader())[1]) == 1


@pytest.mark.parametrize("augment", ["affine", "elastic", ["random_crop", "cutout"]])
def test_only_training_batches_are_augmented(
    mnist_train: Split, mnist_test: Split, augment: Any
) -> None:
    datamodule = MNISTDataModule(augment=augment, val_size=59_000)
    batches = datamodule.train_dataloader()
    order = batches.order()
    images, labels = gather(batches)
    assert torch.equal(labels, mnist_train.labels[order])
    assert not torch.equal(images, mnist_train.images[order])
    assert torch.equal(gather(datamodule.test_dataloader())[0], mnist_test.images)
    assert torch.equal(gather(datamodule.val_dataloader())[0], mnist_train.images[:59_000])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "cifar"}, r"data\.dataset=cifar: must be one of mnist, fashion_mnist, kmnist"),
        ({"augment": "flip"}, r"data\.augment=flip: must be affine, elastic, "),
        ({"batch_size": 0}, r"data\.batch_size=0: must be a whole number, at least 1"),
        ({"batch_size": -3}, r"data\.batch_size=-3: must be"),
        ({"batch_size": True}, r"data\.batch_size=True: must be a whole number"),
        ({"batch_size": 12.5}, r"data\.batch_size=12\.5: must be a whole number"),
        ({"batch_size": "128"}, r"data\.batch_size=128: must be a whole number"),
        ({"val_size": -1}, r"data\.val_size=-1: must be a whole number, from 0 to 59999"),
        ({"val_size": 60_000}, r"data\.val_size=60000: must be a whole number, from 0 to 59999"),
        ({"val_size": 0.1}, r"data\.val_size=0\.1: must be a whole number"),
        ({"split_seed": -1}, r"data\.split_seed=-1: must be a whole number, from 0"),
        ({"seed": -1}, r"data\.seed=-1: must be a whole number, from 0 to 4294967295"),
        ({"seed": 2**32}, r"data\.seed=4294967296: must be"),
        ({"seed": None}, r"data\.seed=None: must be"),
    ],
)
def test_bad_argument_is_named_with_what_is_required(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MNISTDataModule(**arguments)


def test_batch_smaller_than_the_number_of_ranks_is_refused() -> None:
    datamodule = as_rank(MNISTDataModule(batch_size=3), 0, 4)
    with pytest.raises(ConfigError, match=r"data\.batch_size=3: .* at least their number, 4"):
        datamodule.train_dataloader()


@pytest.mark.parametrize("split", ["train", "test"])
def test_ranks_see_each_sample_once(split: str) -> None:
    def loader(rank: int, world_size: int) -> BatchLoader:
        datamodule = MNISTDataModule(batch_size=100, val_size=57_500)
        as_rank(datamodule, rank, world_size)
        batches: BatchLoader = getattr(datamodule, f"{split}_dataloader")()
        return batches

    whole, shares = loader(0, 1), [loader(rank, 3) for rank in range(3)]
    for (images, _), *parts in zip(whole, *shares, strict=True):
        assert sum(len(labels) for _, labels, _ in parts) == len(images)
        for rank, (part, _, global_size) in enumerate(parts):
            assert torch.equal(part, images[rank::3])
            assert global_size == len(images)


def test_root_below_home_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    MNISTDataModule(root="~/sets").split(train=False)
    assert (tmp_path / "sets" / "MNIST" / "raw" / "t10k-images-idx3-ubyte").exists()


def test_root_holds_other_sets(tmp_path: Path, mnist_files: Path, mnist_test: Split) -> None:
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in MNIST_SHA256:
        os.link(mnist_files / name, raw / name)
    datamodule = MNISTDataModule("kmnist", root=str(tmp_path))
    datamodule.prepare_data()
    datamodule.setup("fit")
    assert torch.equal(gather(datamodule.test_dataloader())[1], mnist_test.labels)


class Recorder(L.LightningModule):
    """Keeps the labels that it was given; their order tells the images'."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[int]] = []
        self.validated = False
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def on_train_epoch_start(self) -> None:
        self.seen.append([])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        assert images.dtype == torch.uint8
        self.seen[-1] += labels.tolist()
        return self.weight * 0

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.validated = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters())


def fit(datamodule: MNISTDataModule, **options: Any) -> Recorder:
    recorder = Recorder()
    L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    ).fit(recorder, datamodule=datamodule)
    return recorder


def test_lightning_goes_through_the_epochs_that_the_loader_gives() -> None:
    seen = fit(MNISTDataModule(seed=7, val_size=59_000), max_epochs=3).seen
    batches = MNISTDataModule(seed=7, val_size=59_000).train_dataloader()
    for epoch, labels in enumerate(seen):
        batches.set_epoch(epoch)
        assert labels == gather(batches)[1].tolist()
    assert len({tuple(labels) for labels in seen}) == 3


def test_overfitting_goes_through_the_same_batches_each_epoch(mnist_train: Split) -> None:
    seen = fit(MNISTDataModule(), max_epochs=2, overfit_batches=2).seen
    assert seen == [mnist_train.labels[5_000:5_256].tolist()] * 2


@pytest.mark.parametrize("val_size", [0, 5_000])
def test_lightning_validates_only_where_there_are_images_for_it(val_size: int) -> None:
    datamodule = MNISTDataModule(val_size=val_size)  # a warning would fail the test
    recorder = fit(datamodule, max_epochs=1, limit_train_batches=2)
    assert recorder.validated == bool(val_size)
    assert recorder.trainer.enable_validation == bool(val_size)


def _all_images(loader: Any) -> Tensor:
    return torch.cat([images for images, _ in loader])


def test_each_image_validates_once_and_trains_in_all_other_folds(mnist_train: Split) -> None:
    parts = []
    for fold in range(4):
        data = MNISTDataModule(folds=4, fold=fold, batch_size=1000)
        assert data.val_size == 15_000
        parts.append(_all_images(data.val_dataloader()))
        train = data.train_dataloader()
        assert len(train) == 45
        assert torch.equal(torch.sort(train.order()).values, _without(fold, 15_000))
        first = next(iter(train))[0]
        assert torch.equal(first, mnist_train.images[train.order()[:1000]])
    assert torch.equal(torch.cat(parts), mnist_train.images)


def _without(fold: int, size: int) -> Tensor:
    positions = torch.arange(60_000)
    return torch.cat((positions[: fold * size], positions[(fold + 1) * size :]))


def test_folds_are_of_one_size_and_what_is_left_over_trains() -> None:
    sizes = set()
    for fold in range(7):
        data = MNISTDataModule(folds=7, fold=fold, split_seed=3)
        val, train = data.positions_of(fold, is_val=True), data.positions_of(fold, is_val=False)
        sizes.add((len(val), len(train)))
        assert torch.equal(torch.sort(torch.cat((val, train))).values, torch.arange(60_000))
        assert not torch.equal(torch.sort(val).values, val)  # drawn by the seed
    assert sizes == {(8_571, 51_429)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 5}, "data.fold=None: must be one of 0 to 4 with data.folds=5; cv=5"),
        ({"fold": 1}, "data.fold=1: needs data.folds, the number of folds"),
        ({"folds": 5, "fold": 5}, "data.fold=5: must be one of 0 to 4 with data.folds=5"),
        ({"folds": 1, "fold": 0}, "data.folds=1: must be a whole number, at least 2"),
        ({"folds": 5, "fold": 0, "val_size": 0}, "data.val_size=0: must not be 0"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MNISTDataModule(**arguments)


def test_more_folds_than_images_are_refused() -> None:
    data = MNISTDataModule(folds=60_001, fold=0)
    with pytest.raises(ConfigError, match="must be at most the 60,000 training images"):
        data.train_dataloader()
