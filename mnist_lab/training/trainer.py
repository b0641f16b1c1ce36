"""Builds the trainer of a run with its callbacks and loggers."""

import logging
import warnings
from dataclasses import fields
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config import schema
from mnist_lab.files.tensorboard import do_without_tensorflow
from mnist_lab.sweeps.pruning import Watch
from mnist_lab.sweeps.trial import current_trial
from mnist_lab.training.checkpoints import AtomicCheckpointIO
from mnist_lab.training.fit import device_type, resolve_precision, settings_taken

# What Lightning announces at each start, in INFO and in warnings that nobody here can act on.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
_NOISE = (
    "`isinstance\\(treespec, LeafSpec\\)`",
    "Checkpoint directory",  # of a ModelCheckpoint that one adds
    "Encountered `nan` values in tensor",  # of a run that has diverged, which is said at its end
    "Experiment logs directory",  # the run's own, whose rows are kept
    "The number of training batches",
    "You are trying to `self.log\\(\\)` but `Trainer\\(barebones=True\\)`",  # which is its point
    "The `srun` command is available",  # on every SLURM machine, where one run needs none
    "Precision bf16-mixed is not supported by the model summary",
)


@settings_taken()
def build_trainer(config: DictConfig, model: Any, validates: bool) -> L.Trainer:
    """Build the trainer with the callbacks and loggers of its groups.

    Args:
        config: the whole config.
        model: what the precision is chosen for.
        validates: whether there is a validation split to monitor.

    Raises:
        ConfigError: Lightning refuses a setting.
    """
    do_without_tensorflow()
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
    unset = {knob.name for knob in fields(schema.Trainer) if knob.default is None}
    options = {k: v for k, v in config.trainer.items() if v is not None or k not in unset}
    barebones = options.get("barebones", False)
    callbacks = dict(config.callbacks or {})
    stopping = callbacks.get("early_stopping")
    if stopping is not None and str(stopping.get("monitor")).startswith("train/"):
        # Lightning would look for it after a validation within the epoch, when it is not there yet.
        callbacks["early_stopping"] = OmegaConf.merge(stopping, {"check_on_train_epoch_end": True})
    if not validates or options.get("limit_val_batches") == 0:
        if _chooses_by_val(callbacks.get("early_stopping")):
            del callbacks["early_stopping"]
        if _chooses_by_val(callbacks.get("checkpoint")):  # the best checkpoint is the last
            callbacks["checkpoint"] = OmegaConf.merge(callbacks["checkpoint"], {"monitor": None})
    if barebones or options.get("fast_dev_run") or "checkpoint" not in callbacks:
        options["enable_checkpointing"] = False
    if options.get("enable_checkpointing") is False:
        callbacks.pop("checkpoint", None)
    trial = current_trial()
    if trial is not None:  # a sweep shows its own progress, and a picture takes as long as an epoch
        callbacks.pop("pictures", None)
        options |= {"enable_progress_bar": False, "enable_model_summary": False}
    if barebones or options.get("enable_progress_bar") is False:
        callbacks.pop("progress", None)
    if barebones or "logger" not in options:
        loggers = [] if barebones else [instantiate(one) for one in (config.logger or {}).values()]
        options["logger"] = loggers or False
    options["callbacks"] = [
        *([Watch(trial, config.monitor)] if trial is not None else []),
        *(instantiate(node, _convert_="all") for node in callbacks.values()),
        *instantiate(options.pop("callbacks", None) or [], _convert_="all"),
    ]
    options["plugins"] = [AtomicCheckpointIO(), *_as_list(options.get("plugins", []))]
    options["precision"] = resolve_precision(
        options["precision"], model, options.get("accelerator", "auto")
    )
    if "deterministic" not in options and device_type(options.get("accelerator")) == "cuda":
        options["deterministic"] = "warn"
    trainer: L.Trainer = instantiate(options, _convert_="all")
    return trainer


def _as_list(value: Any) -> list[Any]:
    return list(value) if OmegaConf.is_list(value) or isinstance(value, list) else [value]


def _chooses_by_val(callback: DictConfig | None) -> bool:
    return callback is not None and str(callback.get("monitor")).startswith("val/")


def machine(trainer: L.Trainer) -> dict[str, Any]:
    """Return what figures depend on besides config, code and versions."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "precision": str(trainer.precision),
        "device": name,
        "world_size": trainer.world_size,
        "threads": torch.get_num_threads(),
    }
