"""What every model shares: loss, metrics, steps and optimizer."""

import time
from abc import ABC
from collections.abc import Mapping
from typing import Any, TypedDict

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from mnist_lab.models.arguments import (
    INITS,
    LABEL_SMOOTHING,
    NUM_CLASSES,
    OPTIMIZERS,
    SCHEDULERS,
)
from mnist_lab.models.layers import check_range, one_of
from mnist_lab.models.optimizers import build_optimizer, build_schedule

PIXEL_SCALE = 1 / 255  # of uint8 images, which models see in [0, 1]


class SharedArgs(TypedDict, total=False):
    """The arguments of ``Classifier``, which every model takes."""

    num_classes: int
    init: str
    label_smoothing: float
    optimizer: Mapping[str, Any] | None
    scheduler: Mapping[str, Any] | None


class Classifier(L.LightningModule, ABC):
    """Classifies 28 x 28 images; a subclass builds ``self.net`` and calls ``initialize``.

    All arguments are builtins, so that a checkpoint loads with ``weights_only=True`` anywhere.
    Validation and test losses are plain cross-entropy, without label smoothing.

    Args:
        num_classes: number of classes, 2 to 1,000.
        init: how weights start: ``default`` (torch's own), ``zeros``, ``glorot_uniform`` with zero
            biases, ``truncated_normal`` (standard deviation 0.1, cut at two of them) with biases of
            0.1, or ``normal`` (weights and biases with standard deviation 1).
        label_smoothing: share of the target spread over all classes in training, 0 to 1.
        optimizer: ``name`` (adam, adamw or sgd) and the arguments of torch's class of that name;
            None is Adam with its defaults.
        scheduler: ``name`` (none, cosine, one_cycle, exponential or plateau) and the arguments of
            torch's class; cosine and one_cycle go by step over the whole run, exponential and
            plateau by epoch. None keeps the learning rate.

    Raises:
        ConfigError: an argument is unknown or out of its range.
    """

    net: nn.Module
    gains_by_bf16 = False  # whether `precision: auto` picks bf16-mixed where it is native

    def __init__(
        self,
        num_classes: int = 10,
        init: str = "default",
        label_smoothing: float = 0.0,
        optimizer: Mapping[str, Any] | None = None,
        scheduler: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        check_range("model.num_classes", num_classes, NUM_CLASSES)
        check_range("model.label_smoothing", label_smoothing, LABEL_SMOOTHING, float)
        self.num_classes = num_classes
        self.init = one_of("model.init", init, INITS)
        self.label_smoothing = label_smoothing
        self.optimizer_settings = {"name": "adam", **(optimizer or {})}
        self.scheduler_settings = {"name": "none", **(scheduler or {})}
        one_of("optimizer.name", self.optimizer_settings["name"], OPTIMIZERS)
        one_of("scheduler.name", self.scheduler_settings["name"], SCHEDULERS)
        self.metrics = nn.ModuleDict()
        for split in ("val", "test"):
            self.metrics[f"{split}_loss"] = MeanMetric()
            self.metrics[f"{split}_confusion"] = MulticlassConfusionMatrix(
                num_classes, validate_args=False
            )
        # No buffer: DDP would overwrite it with rank 0's, and half precision could not count in it.
        self._epoch_sums: Tensor  # of the epoch so far: loss, correct preds, samples
        self._recent: list[tuple[Tensor, Tensor, Tensor]] = []  # what they do not hold yet
        self._before: Tensor | None = None  # the same of the steps before the run was stopped

    def __setattr__(self, name: str, value: Any) -> None:
        """Store Lightning's bookkeeping of hooks without nn.Module's search for what it is.

        Lightning sets this attribute about 44 times a step, which costs a small MLP 15 % of its
        epoch when it goes through ``nn.Module.__setattr__``.
        """
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @torch.no_grad()
    def initialize(self) -> None:
        """Draw the weights of ``self.net`` as ``init`` says; batch norm keeps torch's own."""
        for layer in self.net.modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            assert layer.bias is not None
            match self.init:
                case "zeros":
                    nn.init.zeros_(layer.weight)
                    nn.init.zeros_(layer.bias)
                case "glorot_uniform":
                    nn.init.xavier_uniform_(layer.weight)
                    nn.init.zeros_(layer.bias)
                case "truncated_normal":
                    nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
                    nn.init.constant_(layer.bias, 0.1)
                case "normal":
                    nn.init.normal_(layer.weight)
                    nn.init.normal_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, num_classes)`` for ``(B, 1, 28, 28)`` images, uint8 or in [0, 1]."""
        if images.dtype == torch.uint8:
            images = images.to(self.dtype).mul_(PIXEL_SCALE)
        logits: Tensor = self.net(images)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def training_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor:
        """Return the mean loss of a batch, weighted where ranks hold unequal shares of it."""
        images, labels, *global_size = batch
        logits = self(images)  # (B, num_classes)
        if global_size:  # several ranks: their mean of this is the mean over the global batch
            total = F.cross_entropy(
                logits, labels, reduction="sum", label_smoothing=self.label_smoothing
            )
            loss: Tensor = total * (self.trainer.world_size / global_size[0])
            own = total / max(1, len(labels))
        else:
            loss = own = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self._recent.append((own.detach(), logits.detach(), labels))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log what every so many steps is due; a step may have taken several batches."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.global_step + 1) % every == 0:
            self._log_recent()

    def on_train_start(self) -> None:
        """Start sums and clock also where Lightning resumes within an epoch, which starts none."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums and clock."""
        self._recent.clear()
        self._before = None
        self._epoch_sums = torch.zeros(3, dtype=torch.float32, device=self.device)
        self._epoch_start = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's loss and accuracy, and its time in seconds, validation included."""
        self._sum_recent()
        loss, correct, count = self._across_ranks(self._epoch_sums)
        self.log_dict(
            {
                "train/loss": loss / count,
                "train/acc": correct / count,
                "time/epoch": time.perf_counter() - self._epoch_start,
            },
            sync_dist=True,
        )

    def _sum_recent(self) -> Tensor:
        """Move the recent steps into the epoch's sums, and return theirs: loss, correct, samples.

        Steps only append to a list, so that a step costs no metric's arithmetic.
        """
        steps = self._recent_steps()
        sums = torch.zeros_like(self._epoch_sums)
        sums[0] = steps[0] @ steps[2]
        sums[1:] = steps[1:].sum(dim=1)
        self._recent.clear()
        self._before = None
        self._epoch_sums += sums
        return sums

    def _recent_steps(self) -> Tensor:
        """Return ``(3, steps)`` of the recent steps: mean loss, correct preds, samples.

        Whole numbers add up exactly in any order, so that one step has the correct preds of all.
        """
        steps = torch.zeros(3, 0) if self._before is None else self._before
        steps = steps.to(self._epoch_sums)
        if not self._recent:
            return steps
        losses, logits, labels = zip(*self._recent, strict=True)
        recent = steps.new_zeros(3, len(losses))
        recent[0] = torch.stack(losses)
        recent[1, 0] = (torch.cat(logits).argmax(dim=1) == torch.cat(labels)).sum()
        recent[2] = torch.tensor([float(len(some)) for some in labels])
        return torch.cat((steps, recent), dim=1)

    def running_state(self) -> dict[str, Any]:
        """Return what a checkpoint within an epoch needs for the epoch's metrics."""
        if not hasattr(self, "_epoch_sums"):
            return {}
        return {
            "sums": self._epoch_sums.cpu(),
            "recent": self._recent_steps().cpu(),
            "seconds": time.perf_counter() - self._epoch_start,
        }

    def restore_running_state(self, state: dict[str, Any]) -> None:
        """Go on with the metrics of an epoch that was broken off, after its start."""
        if state:
            self._epoch_sums = state["sums"].to(self._epoch_sums)
            self._before = state["recent"]
            self._epoch_start = time.perf_counter() - state["seconds"]

    def _log_recent(self) -> None:
        """Log loss and accuracy over the steps since the last time, and the learning rate.

        They go to the loggers directly: ``self.log`` takes 1 ms for what is one line in a file.
        """
        loss, correct, count = self._across_ranks(self._sum_recent())
        metrics = {
            "train/loss_step": loss / count,
            "train/acc_step": correct / count,
            "lr": self.trainer.optimizers[0].param_groups[0]["lr"],
        }
        for logger in self.trainer.loggers:
            logger.log_metrics(metrics, step=self.global_step)

    def _across_ranks(self, sums: Tensor) -> list[float]:
        total = self.trainer.strategy.reduce(sums.clone(), reduce_op="sum")
        assert isinstance(total, Tensor)
        return total.tolist()

    def validation_step(self, batch: tuple[Any, ...], batch_idx: int) -> None:
        """Add a batch to the validation metrics."""
        self._evaluate("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss and accuracy."""
        self._log_evaluation("val")

    def test_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor | None:
        """Add a batch to the test metrics and return its logits, of which pictures are made."""
        return self._evaluate("test", batch)

    def on_test_epoch_end(self) -> None:
        """Log loss, accuracy, number of samples and per-class accuracy; keep the matrix."""
        confusion = self._log_evaluation("test")
        self.log("test/num_samples", confusion.sum().float(), sync_dist=True)
        per_class = confusion.diag() / confusion.sum(dim=1).clamp(min=1)
        accuracies = {f"test/acc_class_{c}": acc for c, acc in enumerate(per_class)}
        self.log_dict(accuracies, sync_dist=True)
        self.test_confusion_matrix = confusion.cpu()  # (num_classes, num_classes), rows are labels

    def _evaluate(self, split: str, batch: tuple[Any, ...]) -> Tensor | None:
        images, labels = batch[:2]
        if len(labels) == 0:  # a rank without a share of the last batch
            return None
        logits: Tensor = self(images)
        loss_metric, confusion_metric = self._metrics(split)
        loss_metric.update(F.cross_entropy(logits, labels), len(labels))
        confusion_metric.update(logits.argmax(dim=1), labels)
        return logits

    def _log_evaluation(self, split: str) -> Tensor:
        """Log loss and accuracy over all ranks, start again, and return the confusion matrix."""
        loss_metric, confusion_metric = self._metrics(split)
        confusion: Tensor = confusion_metric.compute()
        metrics = {
            f"{split}/loss": loss_metric.compute(),
            f"{split}/acc": confusion.diag().sum() / confusion.sum(),
        }
        # A validation after training is of the best checkpoint, and no point of the curve.
        is_curve = split == "test" or self.trainer.state.fn == TrainerFn.FITTING
        self.log_dict(metrics, logger=None if is_curve else False, sync_dist=True)
        loss_metric.reset()
        confusion_metric.reset()
        return confusion

    def _metrics(self, split: str) -> tuple[Any, Any]:
        return self.metrics[f"{split}_loss"], self.metrics[f"{split}_confusion"]

    def predict_step(self, batch: tuple[Any, ...], batch_idx: int) -> Tensor:
        """Return probabilities ``(B, num_classes)``."""
        logits: Tensor = self(batch[0])
        return logits.softmax(dim=1)

    def optimizer_zero_grad(
        self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer
    ) -> None:
        """Drop the gradients without the profiling hooks of ``Optimizer.zero_grad``."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def configure_optimizers(self) -> Any:
        """Build the optimizer and the schedule that the settings name.

        Raises:
            ConfigError: torch refuses a setting, or the schedule needs a length that is not known.
        """
        optimizer = build_optimizer(self.optimizer_settings, self.parameters(), self._may_fuse())
        if self.scheduler_settings["name"] == "none":
            return optimizer
        schedule = build_schedule(self.scheduler_settings, optimizer, self.trainer)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _may_fuse(self) -> bool:
        """Return whether gradients need no clipping in mixed precision, without fused steps."""
        try:
            trainer = self.trainer
        except RuntimeError:  # a training loop without a trainer
            return True
        return not (trainer.gradient_clip_val and "mixed" in trainer.precision)
