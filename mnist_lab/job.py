"""One run from config to result: builds the objects, trains, and leaves a run directory."""

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from mnist_lab import runs, schemas
from mnist_lab.hparams import log_best, log_config
from mnist_lab.tables import print_result
from mnist_lab.training import device_type, resolve_precision, train

# What Lightning announces at each start, in INFO and in warnings that nobody here can act on.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
_NOISE = (
    "`isinstance\\(treespec, LeafSpec\\)`",
    "The number of training batches",
    "Precision bf16-mixed is not supported by the model summary",
)
for _message in _NOISE:
    warnings.filterwarnings("ignore", _message)


def run(config: DictConfig) -> float | None:
    """Train as the config says, leave a run directory, and return the monitored value."""
    run_dir = Path(config.run_dir)
    with _recorded(run_dir, config) if runs.is_rank_zero() else contextlib.nullcontext():
        start = time.perf_counter()
        L.seed_everything(config.seed, workers=True, verbose=False)
        datamodule = instantiate(config.data, _convert_="all")
        model = instantiate(
            config.model, optimizer=config.optimizer, scheduler=config.scheduler, _convert_="all"
        )
        trainer = build_trainer(config, model, validates=getattr(datamodule, "val_size", 1) > 0)
        if trainer.is_global_zero:
            runs.update_manifest(run_dir, precision=str(trainer.precision), **_machine(trainer))
            _log_config(trainer, config)
        metrics = train(model, datamodule, trainer)
        if trainer.is_global_zero:
            metrics["time/total"] = time.perf_counter() - start
            runs.write_metrics(run_dir, metrics)
            log_best(trainer, metrics)
            print_result(run_dir, metrics)
    return metrics.get(config.monitor)


def build_trainer(config: DictConfig, model: Any, validates: bool) -> L.Trainer:
    """Build the trainer with the callbacks and loggers of its groups.

    Args:
        config: the whole config.
        model: what the precision is chosen for.
        validates: whether there is a validation split to monitor.
    """
    unset = {knob.name for knob in fields(schemas.Trainer) if knob.default is None}
    options = {k: v for k, v in config.trainer.items() if v is not None or k not in unset}
    barebones = options.get("barebones", False)
    callbacks = dict(config.callbacks or {})
    if not validates or options.get("limit_val_batches") == 0:
        if _chooses_by_val(callbacks.get("early_stopping")):
            del callbacks["early_stopping"]
        if _chooses_by_val(callbacks.get("checkpoint")):  # the best checkpoint is the last
            callbacks["checkpoint"] = OmegaConf.merge(callbacks["checkpoint"], {"monitor": None})
    if barebones or options.get("fast_dev_run") or "checkpoint" not in callbacks:
        options["enable_checkpointing"] = False
    if options.get("enable_checkpointing") is False:
        callbacks.pop("checkpoint", None)
    if barebones or options.get("enable_progress_bar") is False:
        callbacks.pop("progress", None)
    if barebones or "logger" not in options:
        loggers = [] if barebones else [instantiate(one) for one in (config.logger or {}).values()]
        options["logger"] = loggers or False
    options["callbacks"] = [
        *(instantiate(node, _convert_="all") for node in callbacks.values()),
        *instantiate(options.pop("callbacks", None) or [], _convert_="all"),
    ]
    options["precision"] = resolve_precision(
        options["precision"], model, options.get("accelerator", "auto")
    )
    if "deterministic" not in options and device_type(options.get("accelerator")) == "cuda":
        options["deterministic"] = "warn"
    trainer: L.Trainer = instantiate(options, _convert_="all")
    return trainer


def _chooses_by_val(callback: DictConfig | None) -> bool:
    return callback is not None and str(callback.get("monitor")).startswith("val/")


@contextlib.contextmanager
def _recorded(run_dir: Path, config: DictConfig) -> Iterator[None]:
    """Hold the run directory, and keep in its manifest what becomes of the run."""
    with runs.claimed(run_dir, [run_dir]):
        runs.write(run_dir / runs.CONFIG, _portable(config))
        runs.update_manifest(run_dir, state="running", started=runs.now(), **runs.environment())
        state, error = "failed", None
        try:
            yield
            state = "finished"
        except (KeyboardInterrupt, SystemExit):
            state = "interrupted"
            raise
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
            raise
        finally:
            runs.update_manifest(run_dir, state=state, ended=runs.now(), error=error)


def _portable(config: DictConfig) -> str:
    """Return the resolved config as YAML, with the run's place as a dot: a run can be moved."""
    return OmegaConf.to_yaml(config, resolve=True).replace(str(config.run_dir), ".")


def _log_config(trainer: L.Trainer, config: DictConfig) -> None:
    settings = OmegaConf.to_container(config, resolve=True)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            log_config(logger, cast(dict[str, Any], settings), _portable(config))


def _machine(trainer: L.Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "world_size": trainer.world_size, "threads": torch.get_num_threads()}
