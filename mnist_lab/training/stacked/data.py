"""Batches of a stack: for each data seed those that a lone run with that seed sees."""

import copy
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mnist_lab.data import MNISTDataModule
from mnist_lab.data.loader import BatchLoader

Seeds = Callable[[], tuple[int, ...]]


class StackedLoader:
    """An iterable of ``(S, B, 1, 28, 28)`` uint8 images and ``(S, B)`` labels, a row a seed.

    Args:
        loader: serves one seed's batches on one device.
        seeds: returns the distinct data seeds of the trials; asked as an epoch begins.
    """

    def __init__(self, loader: BatchLoader, seeds: Seeds) -> None:
        self.loader = loader
        self.seeds = seeds
        self.epoch = 0
        self.batch_sampler = SimpleNamespace(sampler=self)  # where Lightning looks for set_epoch

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.loader)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of the current epoch."""
        loaders = [self._with_seed(seed) for seed in self.seeds()]
        if len(loaders) == 1:
            for images, labels, *_ in loaders[0]:
                yield images[None], labels[None]
        elif self.loader.augment is not None:
            for batches in zip(*loaders, strict=True):
                images_by_seed, labels_by_seed = zip(*batches, strict=True)
                yield torch.stack(images_by_seed), torch.stack(labels_by_seed)
        elif loaders:
            yield from self._gathered(torch.stack([loader.order() for loader in loaders]))

    def _with_seed(self, seed: int) -> BatchLoader:
        loader = copy.copy(self.loader)
        loader.seed, loader.epoch = seed, self.epoch
        return loader

    def _gathered(self, orders: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches by orders ``(S, N)``, each of one gather, which takes the least memory."""
        images, labels = self.loader.images, self.loader.labels
        rows, orders = images.flatten(1), orders.to(images.device, torch.int32)
        for chosen in torch.split(orders, self.loader.batch_size, dim=1):
            flat, shape = chosen.flatten(), chosen.shape
            gathered = rows.index_select(0, flat).view(*shape, *images.shape[1:])
            yield gathered, labels.index_select(0, flat).view(shape)


class StackedData(MNISTDataModule):
    """Serves a stack on one device: training batches by data seed, the others once for all.

    Args:
        datamodule: the data module of any of the trials, whose data it shares; all agree in all but
            ``seed``.
        seeds: returns the distinct data seeds of the trials that are in the stack.
    """

    def __init__(self, datamodule: MNISTDataModule, seeds: Seeds) -> None:
        vars(self).update(vars(datamodule))  # a shallow copy: what was read is not read again
        self.seeds = seeds

    def train_dataloader(self) -> Any:
        """Return the training batches."""
        return StackedLoader(super().train_dataloader(), self.seeds)
