"""Samples per second of a loader alone, each batch delivered as float images in [0, 1]."""

import itertools
import statistics
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from benchmark_rows.catalog import NUM_TRAIN, NUM_VAL, Job

BATCH_SIZE = 128
PASSES = 3


def lab(job: Job) -> dict[str, Any]:
    """Time the lab's loader, with the scaling to floats that its models do."""
    from mnist_lab import MNISTDataModule

    loader = MNISTDataModule(root=job.root, batch_size=BATCH_SIZE).train_dataloader()

    def batches(number: int) -> Iterable[Tensor]:
        loader.set_epoch(number)
        return (images.float().mul_(1 / 255) for images, *_ in loader)

    return _figures([_pass(batches(number), job) for number in range(PASSES)])


def torchvision(job: Job, workers: int) -> dict[str, Any]:
    """Time torchvision's data set with ToTensor in a DataLoader; workers start with each epoch."""
    from torch.utils.data import DataLoader, Subset
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    dataset = MNIST(job.root, train=True, transform=ToTensor(), download=False)
    subset = Subset(dataset, range(NUM_VAL, NUM_VAL + NUM_TRAIN))
    loader = DataLoader(subset, BATCH_SIZE, shuffle=True, num_workers=workers)
    passes = [_pass((images for images, _ in loader), job) for _ in range(PASSES)]
    return _figures(passes)


def _pass(batches: Iterable[Tensor], job: Job) -> float:
    """Return the samples per second of one pass."""
    samples = 0
    start = time.perf_counter()
    for images in itertools.islice(batches, job.size.data_batches):
        assert images.dtype == torch.float32
        samples += len(images)
    return samples / (time.perf_counter() - start)


def _figures(passes: list[float]) -> dict[str, Any]:
    return {"figure": statistics.median(passes[1:]), "passes": passes}
