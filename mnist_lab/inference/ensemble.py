"""Evaluation of several runs as one model: the mean of their probabilities.

Source: Lakshminarayanan, Pritzel and Blundell, 2017 (https://arxiv.org/abs/1612.01474), who train
the same network with several seeds and average the predicted probabilities.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from typing_extensions import override

from mnist_lab.config.knob import shown
from mnist_lab.config.validate import num_devices
from mnist_lab.errors import ConfigError, InputError
from mnist_lab.inference.evaluate import evaluate_run

_MAY_DIFFER = {"batch_size", "seed", "augment", "val_size", "split_seed", "folds", "fold"}
"""Keys of the data in which members may differ, as they change nothing of the test."""
_Outputs = tuple[Tensor, Tensor]  # labels (N,) and probabilities (N, C)


def check_members(run_dirs: Sequence[Path], configs: Sequence[DictConfig]) -> None:
    """Refuse runs that cannot be averaged, as far as the configs say that they are evaluated with.

    Raises:
        ConfigError: there is one run alone, there are several devices, or data or classes differ.
    """
    if len(run_dirs) < 2:
        raise ConfigError("--ensemble: must have two runs or more")
    first: Any = None
    for run_dir, config in zip(run_dirs, configs, strict=True):
        if (num_devices(config.trainer.devices) or 1) > 1:
            raise ConfigError(
                f"trainer.devices={shown(config.trainer.devices)}: must be 1 for an ensemble"
            )
        data: Any = OmegaConf.to_container(config.data)
        settings = {f"data.{name}": data[name] for name in data if name not in _MAY_DIFFER}
        settings["model.num_classes"] = config.model.get("num_classes")
        first = first or settings
        for name in {**first, **settings}:
            if first.get(name) != settings.get(name):
                raise ConfigError(
                    f"{run_dir}: {name}={shown(settings.get(name))}, but "
                    f"{shown(first.get(name))} in {run_dirs[0]}; the runs of an ensemble must "
                    "agree in data and classes"
                )


def evaluate_ensemble(
    run_dirs: Sequence[Path], overrides: list[str]
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Return the metrics of each run, and accuracy and loss of the mean of their probabilities.

    Runs that were validated on other images than the first have no validation in common.

    Args:
        run_dirs: directories of runs that ``check_members`` admits.
        overrides: as ``evaluate_run`` takes them, for all of the runs.

    Raises:
        ConfigError: an override is wrong.
        InputError: a run cannot be read, gives no logits, or has other images or classes.
        UntrustedError: a run names code that is not the lab's and was not allowed.
    """
    results: list[dict[str, float]] = []
    sums: dict[str, _Outputs] = {}
    for run_dir in run_dirs:
        keeper = _Keeper()
        results.append(evaluate_run(run_dir, overrides, callbacks=[keeper]))
        outputs = keeper.by_split()
        if "test" not in outputs:
            raise InputError(f"{run_dir}: its test_step returns no logits (B, C) to be averaged")
        sums = _added(sums, outputs) if len(results) > 1 else outputs
        if "test" not in sums:
            raise InputError(f"{run_dir}: has other test images or classes than {run_dirs[0]}")
    figures: dict[str, float] = {}
    for split, (labels, total) in sums.items():
        figures |= _figures(split, labels, total / len(run_dirs))
    return results, figures


def _added(sums: dict[str, _Outputs], outputs: dict[str, _Outputs]) -> dict[str, _Outputs]:
    """Add a run's probabilities to those of others, for the splits of the same images."""
    return {
        split: (labels, total + outputs[split][1])
        for split, (labels, total) in sums.items()
        if split in outputs
        and labels.equal(outputs[split][0])
        and total.shape == outputs[split][1].shape
    }


def _figures(split: str, labels: Tensor, probs: Tensor) -> dict[str, float]:
    """Return accuracy and loss of probabilities ``(N, C)``."""
    logs = probs.clamp_min(torch.finfo(torch.float32).tiny).log()
    accuracy = (probs.argmax(dim=1) == labels).double().mean()
    return {f"{split}/acc": accuracy.item(), f"{split}/loss": F.nll_loss(logs, labels).item()}


class _Keeper(L.Callback):
    """Keeps labels, and the probabilities of the logits that an evaluation's steps return."""

    def __init__(self) -> None:
        self._batches: dict[str, list[_Outputs]] = {"val": [], "test": []}

    def by_split(self) -> dict[str, _Outputs]:
        """Return labels and probabilities of each split that was evaluated."""
        return {
            split: (torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs]))
            for split, pairs in self._batches.items()
            if pairs
        }

    def _keep(self, split: str, outputs: Any, batch: Any) -> None:
        if isinstance(outputs, Tensor) and outputs.ndim == 2 and len(outputs) == len(batch[1]):
            probs = outputs.double().softmax(dim=1)
            self._batches[split].append((batch[1].cpu(), probs.cpu()))

    @override
    def on_validation_batch_end(
        self, trainer: L.Trainer, model: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self._keep("val", outputs, batch)

    @override
    def on_test_batch_end(
        self, trainer: L.Trainer, model: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self._keep("test", outputs, batch)
