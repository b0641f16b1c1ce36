"""Loss, accuracy and confusion matrices of one trial or of K, summed on the device.

Every tensor has a leading dimension for trials, which is 1 in a run of its own, so that a trial of
a stack has the metrics of its lone run.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS_HELD = 16  # of a stack, whose logits wait to be counted; one count a step would cost more


def train_metrics(sums: Sequence[float], suffix: str = "") -> dict[str, float]:
    """Return ``train/loss`` and ``train/acc``, with a suffix such as ``_step``, of a trial's sums.

    They are those of loss times samples, of correct preds and of samples; of none, where a model
    skips an epoch or has a training step of its own, there are no metrics.
    """
    loss, correct, samples = sums
    if not samples:
        return {}
    return {f"train/loss{suffix}": loss / samples, f"train/acc{suffix}": correct / samples}


def targets(labels: Tensor, logits: Tensor) -> Tensor:
    """Return labels as cross-entropy with logits ``(..., B, num_classes)`` takes them.

    They are classes ``(..., B)``, or of mixed images probabilities ``(..., B, C)``, which get zeros
    where the model has more classes than the data.
    """
    if not labels.is_floating_point():
        return labels
    return F.pad(labels, (0, logits.shape[-1] - labels.shape[-1])).to(logits.dtype)


def likeliest(labels: Tensor, ndim: int) -> Tensor:
    """Return labels as classes: of mixed images the one that has the largest share."""
    return labels if labels.ndim == ndim else labels.argmax(-1)


class RunningSums:
    """Sums over the steps of an epoch, and over those since they were last asked for.

    A step only appends to a list, so that it costs no arithmetic of metrics. No module or buffer:
    DDP would overwrite it with rank 0's, and half precision could not count in it.
    """

    def __init__(self, trials: int = 1, device: torch.device | None = None) -> None:
        self._closed = torch.zeros(trials, 3, dtype=torch.float32, device=device)
        self._counted = self._closed.new_zeros(trials, 3, 0)  # of the steps since the last time
        self._recent: list[tuple[Tensor, Tensor, Tensor]] = []  # steps that are not counted yet
        self._max_held = STEPS_HELD if trials > 1 else None
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the epoch began."""
        return time.perf_counter() - self._start

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a step: mean losses ``(K,)``, logits ``(K, B, num_classes)``, labels ``(K, B)``.

        They have no K where there is a single trial.
        """
        self._recent.append((losses, logits, labels))
        if len(self._recent) == self._max_held:
            self._count()

    def _count(self) -> Tensor:
        """Return ``(K, 3, steps)`` since the last time: mean loss, correct preds, samples.

        Whole numbers add up exactly in any order, so that one step has the correct preds of all.
        """
        if self._recent:
            losses, logits, labels = zip(*self._recent, strict=True)
            self._recent.clear()
            steps = self._counted.new_zeros(len(self._counted), 3, len(losses))
            steps[:, 0] = torch.stack(losses, -1)
            correct = torch.cat(logits, -2).argmax(-1) == torch.cat(labels, -1)
            steps[:, 1, 0] = correct.sum(-1)
            sizes = [float(batch.shape[-1]) for batch in labels]
            steps[:, 2] = sizes[0] if len(set(sizes)) == 1 else torch.tensor(sizes)
            self._counted = torch.cat((self._counted, steps), 2)
        return self._counted

    def since_last(self) -> Tensor:
        """Return the sums ``(K, 3)`` of the steps since the last time."""
        steps = self._count()
        sums = torch.zeros_like(self._closed)
        if len(steps) == 1 or steps.device.type == "cpu":
            for own, its_steps in zip(sums, steps, strict=True):
                aligned = its_steps.clone()  # as a lone run's, whose product depends on it
                own[0] = aligned[0] @ aligned[2]
        else:
            sums[:, 0] = (steps[:, 0] * steps[:, 2]).sum(1)
        sums[:, 1:] = steps[:, 1:].sum(2)
        self._counted = steps.new_zeros(len(steps), 3, 0)
        self._closed += sums
        return sums

    def of_epoch(self) -> Tensor:
        """Return the sums ``(K, 3)`` of the epoch so far."""
        self.since_last()
        return self._closed

    def state(self, trial: int = 0) -> dict[str, Any]:
        """Return what a checkpoint within an epoch needs for a trial's metrics of the epoch."""
        return {
            "sums": self._closed[trial].clone().cpu(),  # (3,)
            "recent": self._count()[trial].clone().cpu(),  # (3, steps)
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue a lone run's epoch from what ``state`` returned."""
        self._counted = state["recent"].to(self._closed)[None]
        self._closed = state["sums"].to(self._closed)[None].clone()
        self._start = time.perf_counter() - state["seconds"]


class EvaluationSums:
    """Plain cross-entropy and confusion matrices over a split."""

    def __init__(self, trials: int, num_classes: int, device: torch.device) -> None:
        self.losses = torch.zeros(trials, dtype=torch.float32, device=device)
        self.confusion = torch.zeros(
            trials, num_classes, num_classes, dtype=torch.long, device=device
        )  # (K, labels, preds)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: ``(K, B, num_classes)``, and ``(B,)`` for all trials or ``(K, B)``."""
        trials, batch, classes = logits.shape
        labels = labels.expand(trials, batch)
        if trials == 1 or logits.device.type == "cpu":  # the bits of a lone run's
            pairs = zip(logits, labels, strict=True)
            losses = torch.stack([F.cross_entropy(own, its_labels) for own, its_labels in pairs])
        else:
            every = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
            losses = every.view(trials, batch).mean(1)
        self.losses += losses.float() * float(batch)
        first = torch.arange(trials, device=labels.device)[:, None] * classes
        cells = (first + labels) * classes + logits.argmax(2)
        counted = torch.bincount(cells.flatten(), minlength=self.confusion.numel())
        self.confusion += counted.view_as(self.confusion)

    def results(self, split: str) -> list[dict[str, Tensor]]:
        """Return each trial's loss and accuracy; of test also its samples and accuracy by class."""
        confusion = self.confusion
        right, rows, total = confusion.diagonal(0, 1, 2), confusion.sum(2), confusion.sum((1, 2))
        table = {f"{split}/loss": self.losses / total, f"{split}/acc": right.sum(1) / total}
        if split == "test":
            table["test/num_samples"] = total.float()
            by_class = (right / rows.clamp(min=1)).unbind(1)
            table |= {f"test/acc_class_{number}": acc for number, acc in enumerate(by_class)}
        columns = zip(*table.values(), strict=True)
        return [dict(zip(table, column, strict=True)) for column in columns]
