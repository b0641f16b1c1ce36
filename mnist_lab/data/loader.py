"""Batches gathered whole from tensors in memory, in an order determined by seed and epoch."""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from types import SimpleNamespace

import numpy as np
import torch
from torch import Generator, Tensor

from mnist_lab.data.augment_list import Augmentation

GATHERED_AT_ONCE = 4096  # samples; one gather for many small batches costs less than one for each
Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, int]


@dataclass(eq=False, repr=False)
class BatchLoader:
    """An iterable of ``(images, labels)`` batches over uint8 images that stay in memory.

    Under several ranks each global batch is dealt out sample by sample, so that an epoch sees every
    sample exactly once and the global batch is the same whatever the number of ranks. A batch then
    has a third element, the size of the global batch, by which a mean over ranks is weighted.

    Args:
        images: ``(N, 1, 28, 28)`` uint8.
        labels: ``(N,)`` int64, on the device of the images.
        batch_size: samples in a global batch; the last one of an epoch may be smaller.
        shuffle: whether each epoch has its own order.
        seed: seed of the order and the augmentation, together with the epoch.
        augment: changes whole global batches, or None.
        positions: of the images that it serves, ``(n,)`` int64; None is all of them.
        num_classes: what labels of mixed images have as many probabilities as.
        rank: which share of each global batch is this one's.
        world_size: number of shares.
    """

    images: Tensor
    labels: Tensor
    batch_size: int
    _: KW_ONLY
    shuffle: bool = False
    seed: int = 0
    augment: Augmentation | None = None
    positions: Tensor | None = None
    num_classes: int = 10
    rank: int = 0
    world_size: int = 1
    epoch: int = field(default=0, init=False)
    start_batch: int = field(default=0, init=False)  # where the next iteration begins, once

    def __post_init__(self) -> None:
        """Let Lightning choose the epoch."""
        self.batch_sampler = SimpleNamespace(sampler=self)  # where Lightning looks for set_epoch

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(self._count / self.batch_size)

    @property
    def _count(self) -> int:
        return len(self.labels if self.positions is None else self.positions)

    @property
    def last_size(self) -> int:
        """Samples of an epoch's last batch that each rank gets at least."""
        left = self._count % self.batch_size or self.batch_size
        return left // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        self.epoch = epoch

    def order(self) -> Tensor:
        """Return the positions ``(n,)`` int64 of the current epoch, in order."""
        if not self.shuffle:
            order = torch.arange(self._count)
        else:
            order = torch.randperm(self._count, generator=self._generator(0))
        return order if self.positions is None else self.positions[order]

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch, from ``start_batch`` on if that is set."""
        size, position, self.start_batch = self.batch_size, self.start_batch, 0
        order = self.order()[position * size :].to(self.images.device)
        batches_at_once = max(1, GATHERED_AT_ONCE // size)
        rows = self.images.flatten(1)
        for chunk in torch.split(order, size * batches_at_once):
            # Rows are copied whole; indexing images in four dimensions takes 8 times as long.
            images = rows.index_select(0, chunk).view(-1, *self.images.shape[1:])
            labels = self.labels.index_select(0, chunk)
            batches = zip(torch.split(images, size), torch.split(labels, size), strict=True)
            for batch_images, batch_labels in batches:
                position += 1
                if self.augment is not None:
                    batch_images, batch_labels = self.augment(
                        batch_images, batch_labels, self._generator(position), self.num_classes
                    )
                if self.world_size == 1:
                    yield batch_images, batch_labels
                else:
                    share = slice(self.rank, None, self.world_size)
                    yield batch_images[share], batch_labels[share], len(batch_labels)

    def _generator(self, position: int) -> Generator:
        """Return the generator for a batch of this epoch; position 0 is the order's own."""
        mixed = np.random.SeedSequence((self.seed, self.epoch, position)).generate_state(1)
        return Generator().manual_seed(int(mixed[0]))
