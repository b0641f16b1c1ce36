"""Seconds per training epoch: a raw loop, Lightning's floor, the lab, and the usual way.

Every row's figure is the median time from the end of one epoch to the end of the next. That leaves
out the first epoch with its warm-up and takes in all that comes between two ends: validation,
checkpoint, logging and progress, where a row has them. The raw loop and barebones have none.
"""

import itertools
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark_rows import commands, digits
from benchmark_rows.catalog import EVAL_BATCH_SIZE, NETS, NUM_TRAIN, NUM_VAL, Job, Net


def raw(job: Job, net: str) -> dict[str, Any]:
    """Time a plain PyTorch loop over uint8 images in memory, without metrics or validation."""
    settings = NETS[net]
    model = build(settings).to(device())
    batches = Batches(job, settings)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    ends = []
    for _ in range(job.size.epochs(settings)):
        for images, labels in batches:
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(images.float() / 255), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        ends.append(now())
    return epoch_figures(ends, job, settings)


def barebones(job: Job, net: str) -> dict[str, Any]:
    """Time the same loop under Lightning with everything turned off."""
    import lightning as L

    from benchmark_rows.modules import Minimal

    settings = NETS[net]
    module = Minimal(build(settings))
    trainer = L.Trainer(barebones=True, max_epochs=job.size.epochs(settings), devices=1)
    trainer.fit(module, Batches(job, settings))
    return epoch_figures(module.ends, job, settings)


def usual(job: Job, net: str) -> dict[str, Any]:
    """Time Lightning as its tutorials use it, with torchvision's data set and DataLoader."""
    settings = NETS[net]
    return epoch_figures(fit_usual(job, settings, job.size.epochs(settings)), job, settings)


def fit_usual(job: Job, net: Net, epochs: int) -> list[float]:
    """Train with Lightning's default logger, checkpoints and progress; return the epochs' ends."""
    import lightning as L
    from torch.utils.data import DataLoader, random_split
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    from benchmark_rows.modules import Usual

    dataset = MNIST(job.root, train=True, transform=ToTensor(), download=False)
    train_set, val_set = random_split(dataset, (NUM_TRAIN, NUM_VAL))
    module = Usual(build(net))
    trainer = L.Trainer(
        max_epochs=epochs,
        devices=1,
        default_root_dir=job.folder,
        limit_train_batches=_limited(net.batches, job.size.share(net)),
        limit_val_batches=_limited(-(-NUM_VAL // net.batch_size), job.size.share(net)),
    )
    trainer.fit(
        module,
        DataLoader(train_set, net.batch_size, shuffle=True, num_workers=0),
        DataLoader(val_set, net.batch_size, num_workers=0),
    )
    return module.ends


def lab(job: Job, net: str, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Time the real command with its defaults: progress, TensorBoard, validation, checkpoints.

    The figure comes from the times at which TensorBoard's ``train/time_epoch`` was written, which
    is once at each epoch's end. That value itself starts its clock after what precedes an epoch and
    stops before what follows it; ``time/fit`` over the number of epochs has the set-up and first
    epoch in it. Both are kept beside the figure as a check.
    """
    settings = NETS[net]
    share = job.size.share(settings)
    limits = [
        f"trainer.limit_train_batches={_limited(settings.batches, share)}",
        f"trainer.limit_val_batches={_limited(NUM_VAL // EVAL_BATCH_SIZE, share)}",
    ]
    epochs = job.size.epochs(settings)
    commands.run(
        commands.train(
            job.folder,
            *settings.overrides,
            *extra,
            f"trainer.max_epochs={epochs}",
            *(limits if share < 1 else []),
        ),
        job.folder,
    )
    run_dir = job.folder / "run"
    metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    precision = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))["precision"]
    events = _events(str(run_dir), "train/time_epoch")
    return {
        **epoch_figures([event.wall_time for event in events], job, settings),
        "logged_epoch_seconds": [event.value for event in events],
        "fit_seconds_per_epoch": metrics["time/fit"] / epochs,
        "precision": precision,
        "note": "" if precision == "32-true" else precision,
    }


def epoch_figures(ends: list[float], job: Job, net: Net) -> dict[str, Any]:
    """Return the seconds of an epoch from the times at which epochs ended.

    A row that ran only a share of the batches is scaled up to the whole epoch. Validation is cut by
    about the same share; a checkpoint cannot be, so that scaling counts it too often, to the
    disadvantage of the rows that write one.
    """
    seconds = [end - start for start, end in itertools.pairwise(ends)]
    scale = net.batches / _limited(net.batches, job.size.share(net))
    return {
        "figure": statistics.median(seconds) * scale,
        "epoch_seconds": seconds,
        "scaled_by": scale,
    }


def build(net: Net) -> nn.Sequential:
    """Return a net with torch's own initial weights."""
    layers: list[nn.Module] = []
    width, side = 1, 28
    for channels in net.channels:
        layers += [nn.Conv2d(width, channels, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        width, side = channels, side // 2
    layers.append(nn.Flatten())
    features = width * side * side
    for units in net.hidden_dims:
        layers += [nn.Linear(features, units), nn.ReLU()]
        features = units
    if net.dropout:
        layers.append(nn.Dropout(net.dropout))
    return nn.Sequential(*layers, nn.Linear(features, 10))


class Batches:
    """Whole batches gathered by index from uint8 images on the training device, shuffled.

    Args:
        job: where the data are and how many batches to yield.
        net: its batch size counts.
    """

    def __init__(self, job: Job, net: Net) -> None:
        images, labels = digits.read(job.root, train=True)
        self.images = torch.from_numpy(images[NUM_VAL:]).unsqueeze(1).to(device())
        self.labels = torch.from_numpy(labels[NUM_VAL:]).long().to(device())
        self.batch_size = net.batch_size
        self.batches = _limited(net.batches, job.size.share(net))

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches."""
        order = torch.randperm(len(self.labels), device=self.labels.device)
        for chunk in torch.split(order, self.batch_size)[: self.batches]:
            yield self.images[chunk], self.labels[chunk]


def device() -> torch.device:
    """Return the device that Lightning's ``auto`` takes: the accelerator if there is one."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")


def now() -> float:
    """Return the time in seconds once the device has done all that it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


def _limited(batches: int, share: float) -> int:
    return max(1, round(batches * share))


def _events(run_dir: str, tag: str) -> list[Any]:
    from tensorboard.backend.event_processing import event_accumulator

    accumulator = event_accumulator.EventAccumulator(run_dir)
    accumulator.Reload()
    return list(accumulator.Scalars(tag))
