"""Further metrics of validation and test, any of torchmetrics, by a callback."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from mnist_lab.errors import ConfigError, first_line


class Metrics(L.Callback):
    """Computes metrics of the logits that a model's validation and test steps return.

    ``f1`` is logged as ``val/f1`` and ``test/f1``, and where it has a value for each class, as
    ``val/f1_class_0`` and so on. torchmetrics puts together what several devices have seen.

    Args:
        metrics: by name; each takes probabilities ``(B, num_classes)`` and labels ``(B,)``.
        num_classes: number of classes.

    Raises:
        ConfigError: a metric does not take that, or gives neither a number nor one for each class.
    """

    def __init__(self, metrics: Mapping[str, Metric], num_classes: int = 10) -> None:
        super().__init__()
        self.metrics = dict(metrics)
        probs = torch.eye(num_classes) * 0.5 + 0.5 / num_classes
        for name, metric in self.metrics.items():
            try:
                metric.update(probs, torch.arange(num_classes))
                by_name = _values(name, metric.compute())
                metric.reset()
            except Exception as error:  # whatever a class of the user's own raises
                raise ConfigError(f"metrics.{name}: {first_line(error)}") from error
            if by_name is None:
                raise ConfigError(f"metrics.{name}: must be a number, or one for each class")

    @override
    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for metric in self.metrics.values():
            metric.to(pl_module.device)
            metric.reset()
        self._has_nan = torch.zeros((), device=pl_module.device)

    @override
    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        logits, labels = outputs, self._labels_of(batch)
        if len(labels) == 0:  # a rank without a share of the last batch
            return
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(labels):
            raise ConfigError(
                f"metrics={','.join(self.metrics)}: needs a model whose validation_step and "
                "test_step return logits (B, num_classes)"
            )
        probs = logits.detach().float().softmax(1)
        self._has_nan += probs.isnan().any()
        probs = probs.nan_to_num(0.0)
        for metric in self.metrics.values():
            metric.update(probs, labels)

    def _labels_of(self, batch: Any) -> Tensor:
        if isinstance(batch, tuple | list) and len(batch) > 1 and isinstance(batch[1], Tensor):
            return batch[1]
        raise ConfigError(
            f"metrics={','.join(self.metrics)}: needs batches (images, labels), a tuple or a list "
            f"with labels (B,); found {type(batch).__name__}; give such batches, or log the metric "
            "in your own model"
        )

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._log(trainer, pl_module, "val")

    on_test_epoch_start = on_validation_epoch_start

    @override
    def on_test_batch_end(self, *arguments: Any) -> None:
        self.on_validation_batch_end(*arguments)

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._log(trainer, pl_module, "test")

    def _log(self, trainer: L.Trainer, pl_module: L.LightningModule, split: str) -> None:
        """Log the values of a split; of a model whose outputs are NaN they are NaN."""
        nan = trainer.strategy.reduce(self._has_nan, reduce_op="sum")
        for name, metric in self.metrics.items():
            values = _values(f"{split}/{name}", metric.compute()) or {}
            metric.reset()
            values = {key: torch.where(nan > 0, torch.nan, value) for key, value in values.items()}
            pl_module.log_dict(values, sync_dist=True)


def _values(name: str, result: Any) -> dict[str, Tensor] | None:
    """Return what a metric gives as numbers, by name; None where it is none."""
    if not isinstance(result, Tensor) or result.ndim > 1:
        return None
    if result.numel() == 1:
        return {name: result.float().squeeze()}
    return {f"{name}_class_{number}": value.float() for number, value in enumerate(result)}
