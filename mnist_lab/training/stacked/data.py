"""Batches of a stack: for each data seed and fold those that a lone run with them sees."""

import copy
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mnist_lab.data import MNISTDataModule
from mnist_lab.data.loader import BatchLoader
from mnist_lab.training.cores import usable_cores

Stream = tuple[int, int | None]  # seed and fold of a data module
Streams = Callable[[], tuple[Stream, ...]]


class StackedLoader:
    """An iterable of ``(S, B, 1, 28, 28)`` uint8 images and ``(S, B)`` labels, a row a stream.

    Args:
        loader: serves one stream's batches on one device.
        streams: returns the distinct streams of the trials; asked as an epoch begins.
        positions_of: returns the positions of a fold's images.
    """

    def __init__(
        self, loader: BatchLoader, streams: Streams, positions_of: Callable[[int], Tensor]
    ) -> None:
        self.loader = loader
        self.streams = streams
        self.positions_of = positions_of
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
        loaders = [self._of(*stream) for stream in self.streams()]
        if len(loaders) == 1:
            for images, labels, *_ in loaders[0]:
                yield images[None], labels[None]
        elif self.loader.augment is not None:
            for batches in zip(*loaders, strict=True):
                its_images, its_labels = zip(*batches, strict=True)
                yield torch.stack(its_images), torch.stack(its_labels)
        elif loaders:
            with ThreadPoolExecutor(min(len(loaders), usable_cores())) as threads:
                orders = list(threads.map(BatchLoader.order, loaders))
            yield from self._gathered(torch.stack(orders))

    def _of(self, seed: int, fold: int | None) -> BatchLoader:
        loader = copy.copy(self.loader)
        loader.seed, loader.epoch = seed, self.epoch
        if fold is not None:
            loader.positions = self.positions_of(fold)
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
    """Serves a stack on one device: training batches by stream, validation by fold, test for all.

    Args:
        datamodule: the data module of any of the trials, whose data it shares; all agree in all but
            ``seed`` and ``fold``.
        streams: returns the distinct streams of the trials that are in the stack.
    """

    def __init__(self, datamodule: MNISTDataModule, streams: Streams) -> None:
        vars(self).update(vars(datamodule))  # a shallow copy: what was read is not read again
        self.streams = streams

    def train_dataloader(self) -> Any:
        """Return the training batches."""
        positions = functools.partial(self.positions_of, is_val=False)
        return StackedLoader(super().train_dataloader(), self.streams, positions)

    def val_dataloader(self) -> Any:
        """Return the validation batches: of each stream where there are folds, else for all."""
        loader = super().val_dataloader()
        if not isinstance(loader, BatchLoader) or self.folds is None:
            return loader
        positions = functools.partial(self.positions_of, is_val=True)
        return StackedLoader(loader, self.streams, positions)
