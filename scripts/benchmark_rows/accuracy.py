"""Seconds to 99.0 % test accuracy, from reading unpacked data through training to test.

Imports and start are not in the figure but beside it; the number of the repeat is the seed.
"""

import json
import time
from pathlib import Path
from typing import Any

from benchmark_rows import commands
from benchmark_rows.catalog import EVAL_BATCH_SIZE, NUM_VAL, Job

_RECIPE = Path(__file__).parents[2] / "conf" / "experiment" / "speedrun.yaml"
_IMPORTED = time.perf_counter()


def lab(job: Job) -> dict[str, Any]:
    """Time the lab's recipe by its own metrics; what the command took besides is the warm-up."""
    if not _RECIPE.exists():
        return {"skipped": "there is no conf/experiment/speedrun.yaml"}
    finished = commands.run(
        commands.train(job.folder, "experiment=speedrun", f"seed={job.repeat}"), job.folder
    )
    path = job.folder / "run" / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    return {
        "figure": metrics["time/total"],
        "fit": metrics["time/fit"],
        "test_acc": metrics["test/acc"],
        "warm_up": finished.seconds - metrics["time/total"],
    }


def raw(job: Job) -> dict[str, Any]:
    """Time a plain loop: one epoch of a small CNN in float32 under a one-cycle schedule."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from benchmark_rows import digits
    from benchmark_rows.step import device, now

    batch_size, target = 256, device()
    torch.manual_seed(job.repeat)
    start = now()
    images, labels = _tensors(digits.read(job.root, train=True), NUM_VAL)
    model = nn.Sequential(
        *(nn.Conv2d(1, 24, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, 256), nn.ReLU(), nn.Linear(256, 10)),
    ).to(target)
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.7, 0.9), fused=True)
    chunks = torch.split(torch.randperm(len(labels), device=target), batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-2, total_steps=len(chunks), cycle_momentum=False
    )
    for chunk in chunks:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(images[chunk].float() / 255), labels[chunk])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    fitted = now()
    images, labels = _tensors(digits.read(job.root, train=False), 0)
    model.eval()
    with torch.inference_mode():
        pairs = zip(images.split(EVAL_BATCH_SIZE), labels.split(EVAL_BATCH_SIZE), strict=True)
        correct = sum((model(x.float() / 255).argmax(1) == y).sum().item() for x, y in pairs)
    return {
        "figure": now() - start,
        "fit": fitted - start,
        "test_acc": correct / len(labels),
        "warm_up": start - _IMPORTED,
    }


def _tensors(arrays: Any, skipped: int) -> Any:
    import torch

    from benchmark_rows.step import device

    images, labels = (torch.from_numpy(array[skipped:]).to(device()) for array in arrays)
    return images.unsqueeze(1), labels.long()
