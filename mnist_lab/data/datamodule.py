"""MNIST, and the sets that share its format, as a LightningDataModule: its split and batches."""

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from mnist_lab.data.augment_list import Augmentation
from mnist_lab.data.loader import BatchLoader
from mnist_lab.data.mnist_files import Split, load_split
from mnist_lab.data.sets import (
    EVAL_BATCH_SIZE,
    MAX_SEED,
    NUM_TRAIN,
    OWN,
    SETS,
    check_fold,
    chosen_set,
)
from mnist_lab.errors import ConfigError

if TYPE_CHECKING:
    from mnist_lab.data.own_sets import ArrayFile, ImageFolder

_VAL_ONE_IN = 10  # training images, where no number is given


class MNISTDataModule(L.LightningDataModule):
    """Serves 55,000 training, 5,000 validation and 10,000 test images as uint8 batches.

    Images are ``(B, 1, 28, 28)`` uint8 and labels ``(B,)`` int64. The whole set is in memory once,
    on the training device. It works without a Trainer too.

    Args:
        dataset: ``mnist``, ``fashion_mnist``, ``kmnist``, ``emnist``, ``qmnist``, ``kuzushiji49``,
            ``usps``, or the user's own: ``folder`` or ``arrays``.
        root: folder that the sets are kept in; None is ``$MNIST_LAB_DATA`` or the user's cache. For
            ``folder`` it holds the classes' folders, for ``arrays`` it is the file.
        batch_size: training samples in a step, across all devices; at least 1.
        val_size: training images kept back for validation, 0 to 59,999; None is a tenth of them, or
            the images of ``val`` in a folder; ``auto`` is 5,000, of USPS 1,000, of the user's own
            None, as in conf/data.
        split_seed: None takes the first ``val_size`` images, as the classic tutorials' reader does;
            a number draws others; ``auto`` is 0 for ``arrays``, else None, as in conf/data.
        augment: changes to training batches: one, or a list of them, each a name (``affine``,
            ``elastic``, ``random_crop``, ``cutout``, ``mixup``), a mapping of a ``name`` and its
            arguments, or a module such as one of ``torchvision.transforms.v2``; None is none.
        seed: what the order of the training images and the augmentation are drawn from.
        split: which part of EMNIST: ``balanced``, ``letters``, ``digits`` or ``byclass``.
        folds: parts of equal size for cross-validation, 2 or more; they take the place of
            ``val_size``. Images that are left over, fewer than the folds, are always trained on.
        fold: the part that validates, from 0; training has all others.

    Raises:
        ConfigError: an argument is out of its range.
    """

    in_shape = (1, 28, 28)  # channels, height, width

    def __init__(
        self,
        dataset: str = "mnist",
        root: str | Path | None = None,
        batch_size: int = 128,
        val_size: int | Literal["auto"] | None = "auto",
        split_seed: int | Literal["auto"] | None = "auto",
        augment: Any = None,
        seed: int = 0,
        split: str | None = None,
        folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        super().__init__()
        self._set = chosen_set(dataset, split, root)
        _check_whole("batch_size", batch_size, 1)
        if val_size == "auto":
            val_size = SETS[self._set].val_size if self._set in SETS else None
        if val_size is not None:
            _check_whole("val_size", val_size, 0, NUM_TRAIN - 1)
        if split_seed == "auto":
            split_seed = 0 if dataset == "arrays" else None
        if split_seed is not None:
            _check_whole("split_seed", split_seed, 0, MAX_SEED)
        _check_whole("seed", seed, 0, MAX_SEED)
        check_fold(folds, fold, val_size)
        self.dataset = dataset
        self.root = Path(root).expanduser() if root is not None else None
        self.batch_size = batch_size
        self._val_size = val_size
        self.split_seed = split_seed
        self.augment = Augmentation(augment) if augment or augment == "" else None
        self.seed = seed
        self.folds = folds
        self.fold = fold
        self._splits: dict[bool, Split] = {}
        self._on_device: dict[bool, tuple[Tensor, Tensor]] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels.

        Raises:
            InputError: a set of the user's own cannot be read.
        """
        return self._own.class_names if self._own else SETS[self._set].classes

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def val_size(self) -> int:
        """Training images kept back for validation."""
        if self.folds is not None:
            return len(self.split(train=True).labels) // self.folds
        if self._val_size is None and self._own:
            self._val_size = self._own.val_size
        if self._val_size is None:
            self._val_size = len(self.split(train=True).labels) // _VAL_ONE_IN
        return self._val_size

    @val_size.setter
    def val_size(self, value: int | None) -> None:
        self._val_size = value

    @functools.cached_property
    def _own(self) -> "ImageFolder | ArrayFile | None":
        """The set of the user's own, whose files or paths are read on first use."""
        if self.dataset not in OWN:
            return None
        from mnist_lab.data.own_sets import ArrayFile, ImageFolder

        assert self.root is not None
        return (ImageFolder if self.dataset == "folder" else ArrayFile)(self.root)

    def prepare_data(self) -> None:
        """Unpack or download the set, once on each machine."""
        self.split(train=True)
        self.split(train=False)

    def setup(self, stage: str | None = None) -> None:
        """Read what the stage needs.

        Raises:
            ConfigError: the trainer's share of test batches is less than one batch.
        """
        self.split(train=stage not in ("test", "predict"))
        if stage == "fit" and self.trainer:
            self._check_test_share(self.trainer.limit_test_batches)
            if not self.val_size:
                # Lightning takes an empty list of loaders for validation, and warns of its length.
                self.trainer.limit_val_batches = 0

    def split(self, train: bool) -> Split:
        """Return the training or test part of the set, read on first use.

        Raises:
            InputError: a file is corrupt, or missing and cannot be downloaded.
        """
        if train not in self._splits:
            # A folder that is typed is filled by training; to evaluate is only to read.
            fills = not self.trainer or self.trainer.state.fn == TrainerFn.FITTING
            own = self._own
            split = (
                own.split(train) if own else load_split(self._set, train, self.root, fills=fills)
            )
            if train and (self.folds or 0) > len(split.labels):
                raise ConfigError(
                    f"data.folds={self.folds}: must be at most the {len(split.labels):,} training "
                    "images that there are"
                )
            if train and self.folds is None and (self._val_size or 0) >= len(split.labels):
                raise ConfigError(
                    f"data.val_size={self._val_size}: must be less than the {len(split.labels):,} "
                    "training images that there are"
                )
            self._splits[train] = split
        return self._splits[train]

    def train_dataloader(self) -> BatchLoader:
        """Return the training batches, in an order of their own each epoch."""
        trainer: Any = self.trainer
        world_size = trainer.world_size if trainer else 1
        if self.batch_size < world_size:
            raise ConfigError(
                f"data.batch_size={self.batch_size}: counts samples across all devices and must be "
                f"at least their number, {world_size}"
            )
        return self._loader(
            "train",
            self.batch_size,
            shuffle=not (trainer and trainer.overfit_batches),
            augment=self.augment,
            **({"num_classes": self.num_classes} if self.augment else {}),
        )

    def val_dataloader(self) -> BatchLoader | list[Any]:
        """Return the validation batches; none where ``val_size`` is 0."""
        return self._loader("val", EVAL_BATCH_SIZE) if self.val_size else []

    def test_dataloader(self) -> BatchLoader:
        """Return the test batches."""
        return self._loader("test", EVAL_BATCH_SIZE)

    def predict_dataloader(self) -> BatchLoader:
        """Return the test batches."""
        return self.test_dataloader()

    def _check_test_share(self, share: int | float | None) -> None:
        """Refuse before training what Lightning refuses after it."""
        if not isinstance(share, float) or not share:
            return
        batches = math.ceil(len(self.split(train=False).labels) / EVAL_BATCH_SIZE)
        if int(share * batches) == 0:
            raise ConfigError(
                f"trainer.limit_test_batches={share}: is less than one of {batches} batches; take "
                "1 for one"
            )

    def _loader(self, split: str, batch_size: int, **options: Any) -> BatchLoader:
        images, labels = self._tensors(train=split != "test")
        if split != "test":
            options["positions"] = self.positions_of(self.fold, is_val=split == "val")
        if trainer := self.trainer:
            options.update(rank=trainer.global_rank, world_size=trainer.world_size)
        return BatchLoader(images, labels, batch_size, seed=self.seed, **options)

    def _tensors(self, train: bool) -> tuple[Tensor, Tensor]:
        """Return a part's images and labels on the training device, moved there once."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        tensors = self._on_device.get(train)
        if tensors is None or tensors[0].device != device:
            images, labels, _ = self.split(train)
            tensors = self._on_device[train] = images.to(device), labels.to(device)
        return tensors

    def positions_of(self, fold: int | None, is_val: bool) -> Tensor:
        """Return the positions ``(n,)`` of validation or training images in the training part.

        Without folds the first ``val_size`` images validate, of the set or of what is drawn.
        """
        count, size = len(self.split(train=True).labels), self.val_size
        order = torch.arange(count)
        if self.split_seed is not None:
            order = torch.randperm(count, generator=torch.Generator().manual_seed(self.split_seed))
        start = (fold or 0) * size
        end = start + size
        return order[start:end] if is_val else torch.cat((order[:start], order[end:]))


def _check_whole(key: str, value: Any, lowest: int, highest: int | None = None) -> None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < lowest or (highest is not None and value > highest):
        bounds = f"at least {lowest}" if highest is None else f"from {lowest} to {highest}"
        raise ConfigError(f"data.{key}={value}: must be a whole number, {bounds}")
