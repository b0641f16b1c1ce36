"""Weights as a validation or a test sees them, which callbacks may swap in and out around it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor

JUDGED = "judged_state_dict"  # the best weights in a checkpoint, where it has others
Weights = dict[str, Tensor]


def copied(weights: Mapping[str, Any]) -> Weights:
    """Return a copy of a model's weights and buffers, which training does not change."""
    return {name: value.clone() for name, value in weights.items() if isinstance(value, Tensor)}


def are_same(weights: Mapping[str, Tensor], others: Mapping[str, Any]) -> bool:
    """Return whether all of a model's weights have the same bits as others of the same names."""
    return all(torch.equal(value, others[name].to(value.device)) for name, value in weights.items())


class JudgedWeights:
    """The weights that were best when they were validated, and those that are to be judged."""

    def __init__(self) -> None:
        self.best: Weights | None = None
        self._seen: Weights | None = None  # by the last validation
        self._seen_step = -1  # that it came after
        self._trained: Weights | None = None  # at the end of the last epoch

    def see(self, trainer: L.Trainer) -> None:
        """Remember the weights that are validated now."""
        self._seen = copied(trainer.strategy.lightning_module_state_dict())
        self._seen_step = trainer.global_step

    def choose(self, trainer: L.Trainer) -> None:
        """Remember the weights of this step as the best: those that were validated, if any were."""
        if self._seen_step != trainer.global_step:
            self.see(trainer)
        self.best = self._seen

    def note_trained(self, trainer: L.Trainer) -> None:
        """Remember the weights that training has come to."""
        self._trained = copied(trainer.strategy.lightning_module_state_dict())

    def has_unseen(self, trainer: L.Trainer) -> bool:
        """Return whether the end of training brought weights that no validation has seen."""
        now = trainer.strategy.lightning_module_state_dict()
        return not any(seen is None or are_same(seen, now) for seen in (self._trained, self._seen))


def judge(trainer: L.Trainer) -> None:
    """Validate a model whose training has ended, as within training but without a point logged."""
    with muted(trainer):
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True


@contextmanager
def muted(trainer: L.Trainer) -> Iterator[None]:
    """Keep metrics from the loggers within."""
    for logger in trainer.loggers:
        vars(logger)["log_metrics"] = lambda *_, **__: None
    try:
        yield
    finally:
        for logger in trainer.loggers:
            vars(logger).pop("log_metrics", None)


@contextmanager
def weights_kept(trainer: L.Trainer, model: L.LightningModule) -> Iterator[None]:
    """Have a model be evaluated with its own weights, whatever callbacks swap in for that."""
    weights = copied(model.state_dict())

    def put_back(
        _: Any, module: L.LightningModule, _batch: Any, batch_idx: int, *_more: Any
    ) -> None:
        if batch_idx == 0:  # where an evaluation begins, after the hooks of all other callbacks
            module.load_state_dict(weights, strict=False)

    keeper = LambdaCallback(on_validation_batch_start=put_back, on_test_batch_start=put_back)
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks.append(keeper)
    try:
        yield
    finally:
        callbacks.remove(keeper)
        model.load_state_dict(weights, strict=False)
