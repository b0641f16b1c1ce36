"""Short trainings at many learning rates, which leave nothing but their losses."""

import copy
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LambdaCallback
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from mnist_lab.config.hydra_internals import build
from mnist_lab.models import Classifier
from mnist_lab.runs import signals
from mnist_lab.training.data_dimensions import follow_data
from mnist_lab.training.epoch_loop import use_fast_loop
from mnist_lab.training.fine_tuning import load_initial
from mnist_lab.training.fit import wait_for_step
from mnist_lab.training.library_errors import settings_taken
from mnist_lab.training.stacked.fit import fit, reason_config_is_not_stacked
from mnist_lab.training.stacked.module import Metrics, Stack
from mnist_lab.training.stacked.stackable import stacking
from mnist_lab.training.threads import threads_of
from mnist_lab.training.trainer import build_model, build_trainer

_log = logging.getLogger(__name__)
_TAIL = 5  # the last fifth of the steps is what a loss is the mean of


def range_test(
    configs: Sequence[DictConfig], rates: Sequence[float], steps: int, size: int | None = None
) -> list[list[float]]:
    """Return for each config and rate the mean training loss of the last fifth of the steps.

    Learning rates are constant, whatever the schedule. Models that can be stacked are trained side
    by side, at most ``size`` of them (None: by the size of the network), others one by one.

    Raises:
        ConfigError: a setting does not fit.
        Stopped: a signal ended the test.
    """
    configs = [_short(config, steps) for config in configs]
    with threads_of(configs[0]), signals.signals_end_run(), settings_taken():
        datamodule = build(configs[0].data)
        configs = [follow_data(config, datamodule) for config in configs]
        reason, most = _stacking(configs[0])
        if reason is None:
            return [_stacked(config, rates, datamodule, size or most) for config in configs]
        _log.warning("%d trainings run one by one: %s", len(configs) * len(rates), reason)
        return [list(_one_by_one(config, rates)) for config in configs]


def _short(config: DictConfig, steps: int) -> DictConfig:
    """Return a config without what watches, logs, saves or changes the learning rate."""
    plain: Any = OmegaConf.to_container(config)
    plain |= {"logger": {}, "callbacks": {}, "metrics": {}, "scheduler": {"name": "none"}}
    plain["trainer"] |= {
        "max_steps": steps,
        "max_epochs": -1,
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    short: DictConfig = OmegaConf.create(plain)
    return short


def _stacking(config: DictConfig) -> tuple[str | None, int]:
    """Return in one line why a config's trainings are not stacked, and the size of a stack."""
    if reason := reason_config_is_not_stacked(config):
        return reason, 1
    model = build_model(config)
    trainer = build_trainer(config, model, validates=False, is_quiet=True)
    return stacking(model, trainer, config.data.batch_size)


def _built(config: DictConfig) -> Any:
    """Build a model as a run begins with it."""
    L.seed_everything(config.seed, workers=True, verbose=False)
    model = build_model(config)
    if config.get("init_from") is not None:
        load_initial(model, Path(config.init_from))
    return model


def _stacked(config: DictConfig, rates: Sequence[float], datamodule: Any, size: int) -> list[float]:
    """Train at each rate from one seed, whose batches all trainings of a stack share."""
    losses: list[float] = []
    model: Classifier = _built(config)
    begun = torch.get_rng_state()  # from which dropout is drawn
    for start in range(0, len(rates), size):
        chosen = rates[start : start + size]
        models = [copy.deepcopy(model) for _ in chosen]
        for own, rate in zip(models, chosen, strict=True):
            own.optimizer_settings |= {"lr": rate}
        streams = [(config.data.seed, config.data.get("fold"))] * len(models)
        stack = Stack(models, streams, [begun] * len(models))
        trainer = build_trainer(config, models[0], validates=False, is_quiet=True)
        of_steps: list[list[float]] = []

        def keep(_: int, metrics: Metrics, of_steps: list[list[float]] = of_steps) -> None:
            of_steps.append([metrics[trial]["train/loss_step"] for trial in sorted(metrics)])

        with wait_for_step(trainer):
            fit(stack, datamodule, trainer, on_log=keep)
        losses += _tail(torch.tensor(of_steps)).tolist()
    return losses


def _one_by_one(config: DictConfig, rates: Sequence[float]) -> Iterator[float]:
    for number, rate in enumerate(rates):
        config.optimizer.lr = rate
        yield _tail(_losses(config)).item()
        if (number + 1) % 16 == 0 or number + 1 == len(rates):
            _log.info("seed %s: %d of %d rates", config.seed, number + 1, len(rates))


def _losses(config: DictConfig) -> Tensor:
    """Train by itself, and return the loss of each step."""
    losses: list[Tensor] = []  # left on their device

    def keep(_trainer: L.Trainer, _model: Any, outputs: Any, *_: Any) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        losses.append(loss.detach())

    model, keeper = _built(config), LambdaCallback(on_train_batch_end=keep)
    trainer = build_trainer(config, model, validates=False, callbacks=[keeper], is_quiet=True)
    use_fast_loop(trainer)
    with wait_for_step(trainer):
        trainer.fit(model, datamodule=build(config.data))
    return torch.stack(losses)


def _tail(losses: Tensor) -> Tensor:
    """Return the mean over the last steps of losses ``(steps, ...)``."""
    return losses[-max(1, len(losses) // _TAIL) :].mean(0)
