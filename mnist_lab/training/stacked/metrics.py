"""Loss and accuracy of K trials, kept on the device and read once an epoch."""

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS_HELD = 16  # whose logits wait to be counted; a count for each step would cost more


def training_losses(
    logits: Tensor, labels: Tensor, smoothing: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return each trial's mean cross-entropy ``(K,)``, to take the gradient of and to tell.

    ``F.cross_entropy`` takes one label smoothing and one mean. The gradients are the same bits as
    with it, the means may differ in the last; so on a CPU what is told is the lone run's own.

    Args:
        logits: ``(K, B, num_classes)``.
        labels: ``(K, B)``.
        smoothing: ``(K,)``, share of the target that is spread over all classes; None is none.
    """
    log_probs = F.log_softmax(logits, 2)
    own = F.nll_loss(log_probs.flatten(0, 1), labels.flatten(), reduction="none")
    losses = own.view(labels.shape).mean(1)
    if smoothing is not None:
        spread = -log_probs.sum(2).mean(1)
        losses = spread * (smoothing / logits.shape[2]) + losses * (1 - smoothing)
    if logits.device.type != "cpu":
        return losses, losses.detach()
    with torch.no_grad():
        if smoothing is None:
            told = [F.nll_loss(*pair) for pair in zip(log_probs, labels, strict=True)]
        else:
            rows = zip(logits, labels, smoothing.tolist(), strict=True)
            told = [F.cross_entropy(a, b, label_smoothing=share) for a, b, share in rows]
        return losses, torch.stack(told)


class TrainingSums:
    """Sums over the steps of an epoch, and over those since they were last asked for.

    Each is ``(K, 3)``: loss times samples, correct preds, samples.

    Args:
        trials: number of trials.
        device: where they are kept.
    """

    def __init__(self, trials: int, device: torch.device) -> None:
        self._closed = torch.zeros(trials, 3, device=device)
        self._open = torch.zeros(trials, 3, device=device)
        self._recent: list[tuple[Tensor, Tensor]] = []
        self._losses: list[Tensor] = []  # of the steps since they were last asked for, each (K,)
        self._counts: list[float] = []  # their samples
        self._start = time.perf_counter()

    @property
    def is_empty(self) -> bool:
        """Whether no step was added."""
        return not self._losses and not self._open.any() and not self._closed.any()

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a step: ``(K,)``, ``(K, B, num_classes)`` and ``(K, B)``."""
        self._recent.append((logits, labels))
        self._losses.append(losses)
        self._counts.append(float(labels.shape[1]))
        if len(self._recent) == STEPS_HELD:
            self._count_correct()

    def _count_correct(self) -> None:
        if self._recent:
            logits, labels = zip(*self._recent, strict=True)
            self._recent.clear()
            self._open[:, 1] += (torch.cat(logits, 1).argmax(2) == torch.cat(labels, 1)).sum(1)

    def _count(self) -> None:
        self._count_correct()
        if not self._losses:
            return
        counts = torch.tensor(self._counts).to(self._open)
        losses = torch.stack(self._losses, 1)  # (K, steps)
        self._losses.clear()
        self._counts.clear()
        if losses.device.type == "cpu":  # the bits of a lone run's product, and where it lies
            steps = torch.zeros(3, len(counts))
            steps[2] = counts
            for sums, row in zip(self._open, losses, strict=True):
                steps[0] = row
                sums[0] += steps[0] @ steps[2]
        else:
            self._open[:, 0] += losses @ counts
        self._open[:, 2] += counts.sum()

    def since_last(self) -> Tensor:
        """Return the sums of the steps since the last time."""
        self._count()
        sums = self._open.clone()
        self._closed += sums
        self._open.zero_()
        return sums

    def of_epoch(self) -> tuple[list[list[float]], float]:
        """Return each trial's loss and accuracy of the epoch so far, and the seconds it took."""
        self._count()
        loss, correct, samples = (self._closed + self._open).double().cpu().T
        # In float32 at last, as Lightning keeps what it is given.
        table = torch.stack((loss / samples, correct / samples), dim=1).float()
        return table.tolist(), time.perf_counter() - self._start

    def state(self, position: int) -> dict[str, Any]:
        """Return the sums of a trial as ``Classifier.running_state`` has them."""
        self._count()
        loss, correct, samples = self._open[position].cpu()
        recent = torch.stack((loss / samples, correct, samples))[:, None]
        return {
            "sums": self._closed[position].cpu(),
            "recent": recent if samples else torch.zeros(3, 0),
            "seconds": time.perf_counter() - self._start,
        }

    def restore(self, position: int, state: dict[str, Any]) -> None:
        """Take over a trial's sums from ``state``, or from a lone ``Classifier``."""
        recent = state["recent"]
        self._closed[position] = state["sums"].to(self._closed)
        sums = torch.stack((recent[0] @ recent[2], recent[1].sum(), recent[2].sum()))
        self._open[position] = sums.to(self._open)
        self._start = time.perf_counter() - state["seconds"]


class EvaluationSums:
    """Plain cross-entropy and confusion matrices over a split.

    Args:
        trials: number of trials.
        num_classes: number of classes.
        device: where they are kept.
    """

    def __init__(self, trials: int, num_classes: int, device: torch.device) -> None:
        self._losses = torch.zeros(trials, device=device)
        self._samples = 0
        self.confusion = torch.zeros(
            trials, num_classes, num_classes, dtype=torch.long, device=device
        )  # (K, labels, preds)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: ``(K, B, num_classes)`` and ``(B,)``, one for all trials."""
        trials, batch, classes = logits.shape
        if logits.device.type == "cpu":  # the bits of a lone run's
            losses = torch.stack([F.cross_entropy(one, labels) for one in logits])
        else:
            every = F.cross_entropy(logits.flatten(0, 1), labels.repeat(trials), reduction="none")
            losses = every.view(trials, batch).mean(1)
        self._losses += losses * float(batch)
        self._samples += batch
        first = torch.arange(trials, device=labels.device)[:, None] * classes
        cells = (first + labels) * classes + logits.argmax(2)
        counted = torch.bincount(cells.flatten(), minlength=self.confusion.numel())
        self.confusion += counted.view_as(self.confusion)

    def results(self, split: str) -> list[dict[str, float]]:
        """Return each trial's loss and accuracy; on test also those that ``Classifier`` logs."""
        confusion = self.confusion
        right, rows, total = confusion.diagonal(0, 1, 2), confusion.sum(2), confusion.sum((1, 2))
        table = {
            f"{split}/loss": self._losses / torch.tensor(float(self._samples)),
            f"{split}/acc": right.sum(1) / total,
        }
        if split == "test":
            table["test/num_samples"] = total.float()
            by_class = (right / rows.clamp(min=1)).unbind(1)
            table |= {f"test/acc_class_{number}": acc for number, acc in enumerate(by_class)}
        columns = zip(*(column.tolist() for column in table.values()), strict=True)
        return [dict(zip(table, column, strict=True)) for column in columns]
