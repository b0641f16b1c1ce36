"""Whether the lab's training losses are those of a raw loop."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F

from benchmark_rows.catalog import Job
from mnist_lab import MLP, MNISTDataModule, train

SEED = 0
TOLERANCE = 1e-5
_ADAM = {"name": "adam", "lr": 1e-3}


class Losses(L.Callback):
    """Keeps each step's loss."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.values.append(outputs["loss"].item())


def losses(job: Job) -> dict[str, Any]:
    """Compare the losses of each step, on the CPU: same weights, order and precision."""
    torch.manual_seed(SEED)
    model = MLP(optimizer=_ADAM)
    start = {name: value.clone() for name, value in model.net.state_dict().items()}
    datamodule = MNISTDataModule(root=job.root, seed=SEED)
    recorder = Losses()
    train(
        model,
        datamodule,
        accelerator="cpu",
        precision="32-true",
        max_epochs=-1,
        max_steps=job.size.agree_steps,
        limit_val_batches=0,
        limit_test_batches=1,
        callbacks=[recorder],
    )
    plain = raw_losses(datamodule, start, job.size.agree_steps)
    assert len(plain) == len(recorder.values) == job.size.agree_steps
    pairs = zip(plain, recorder.values, strict=True)
    largest = max(abs(ours - theirs) for ours, theirs in pairs)
    agreed = largest <= TOLERANCE
    return {
        "figure": largest,
        "steps": len(plain),
        "losses": {"raw": plain, "lab": recorder.values},
        "note": f"over {len(plain)} steps, {'within' if agreed else 'OVER'} {TOLERANCE:g}",
        **({} if agreed else {"failed": f"losses differ by {largest:.1e}"}),
    }


def raw_losses(
    datamodule: MNISTDataModule, start: Mapping[str, torch.Tensor], steps: int
) -> list[float]:
    """Return a raw loop's losses, in the order that the lab has for each epoch.

    Args:
        datamodule: whose split and orders are taken; the images are gathered here.
        start: the initial weights.
        steps: number of optimizer steps.
    """
    net = torch.nn.Sequential(
        *(torch.nn.Flatten(), torch.nn.Linear(784, 512), torch.nn.ReLU()),
        *(torch.nn.Linear(512, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)),
    )
    net.load_state_dict(start)
    optimizer = torch.optim.Adam(net.parameters(), lr=_ADAM["lr"], fused=True)  # type: ignore[arg-type]
    images, labels, _ = datamodule.split(train=True)
    loader, values = datamodule.train_dataloader(), list[float]()
    while len(values) < steps:
        for chunk in torch.split(loader.order(), loader.batch_size)[: steps - len(values)]:
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(net(images[chunk].float() / 255), labels[chunk])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            values.append(loss.item())
        loader.set_epoch(loader.epoch + 1)
    return values
