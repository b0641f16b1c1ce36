"""Checks a resolved config: keys, ranges, combinations, and whether the device is there."""

import math
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.allowlist import TARGETS
from mnist_lab.config.field import check_knob, nearest, shown
from mnist_lab.config.messages import unknown_key
from mnist_lab.config.options import choices
from mnist_lab.config.schema import METRICS, SCHEMAS
from mnist_lab.config.validate_trainer import batches_of, check_trainer, limited, num_devices
from mnist_lab.data.sets import NUM_CLASSES, NUM_TRAIN
from mnist_lab.errors import ConfigError

_MOST_LAYERS = 1_000
_PIXELS = 28 * 28


def check(config: DictConfig) -> None:
    """Check keys, ranges and combinations of a resolved config, and that the device is there.

    Raises:
        ConfigError: a key is unknown, a value is out of its range, or the machine lacks the device.
    """
    for group in SCHEMAS:
        if group not in config or OmegaConf.is_missing(config, group):
            raise ConfigError(f"{group}: must be chosen, one of {', '.join(choices(group))}")
    _check_named_nodes(config)
    for prefix, node in _typed_nodes(config):
        for name in node:
            if name not in _field_names(node) and not (prefix == "" and name == "hydra"):
                raise ConfigError(unknown_key(f"{prefix}{name!s}", [str(one) for one in node]))
        for knob in fields(OmegaConf.get_type(node)):  # type: ignore[arg-type]
            if knob.metadata:
                check_knob(f"{prefix}{knob.name}", knob, node)
    _check_combinations(config)
    _check_monitors(config)
    check_trainer(config)


def _check_named_nodes(config: DictConfig) -> None:
    """Check that each callback and logger is a mapping that says what to build."""
    for group in ("callbacks", "logger"):
        for name, node in (config[group] or {}).items():
            if not isinstance(node, DictConfig) or "_target_" not in node:
                raise ConfigError(
                    f"{group}.{name}={shown(node)}: must be a mapping with a _target_; "
                    f"~{group}.{name} leaves it out"
                )


def _typed_nodes(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Yield each node that has a schema, with its key and a dot."""
    if is_dataclass(OmegaConf.get_type(config)):
        yield prefix, config
    for name in config:
        node = config._get_node(name)
        if isinstance(node, DictConfig) and name != "hydra" and not node._is_none():
            yield from _typed_nodes(node, f"{prefix}{name!s}.")


def _field_names(node: DictConfig) -> set[str]:
    return {field.name for field in fields(OmegaConf.get_type(node))}  # type: ignore[arg-type]


def _check_combinations(config: DictConfig) -> None:
    """Check what one knob alone cannot know."""
    optimizer = config.optimizer
    if optimizer.get("nesterov") and not optimizer.momentum:
        raise ConfigError("optimizer.nesterov=true: needs optimizer.momentum above 0")
    model, data = config.model, config.data
    if {model._target_, data._target_} <= TARGETS and model.num_classes < NUM_CLASSES:
        raise ConfigError(
            f"model.num_classes={model.num_classes}: must be at least {NUM_CLASSES}, the classes "
            f"of data.dataset={data.dataset}"
        )
    _check_memory(model)
    _check_batch_norm(config)


def _check_memory(model: DictConfig) -> None:
    """Check that the lab's own model has so many weights that they could be in memory.

    Each takes 16 bytes in training: itself, its gradient, and two numbers of Adam's.
    """
    if model._target_ not in TARGETS:
        return
    hidden, channels = model.get("hidden_dims", []), model.get("channels", [])
    for key, layers in (("hidden_dims", hidden), ("channels", channels)):
        if len(layers) > _MOST_LAYERS:
            raise ConfigError(
                f"model.{key}: {len(layers):,} layers found, at most {_MOST_LAYERS:,} required"
            )
    kernels = model.get("kernel_size", 1)
    sides = [kernels] * len(channels) if isinstance(kernels, int) else list(kernels)
    weights, inputs = 0, 1
    for out, side in zip(channels, sides, strict=False):
        weights, inputs = weights + inputs * out * side**2, out
    _check_fits("channels", model, weights)
    inputs = inputs if channels else _PIXELS  # what pooling leaves of them is at least one
    for out in hidden:
        weights, inputs = weights + inputs * out, out
    _check_fits("hidden_dims", model, weights)


def _check_fits(key: str, model: DictConfig, weights: int) -> None:
    if weights * 16 > (memory := _memory()):
        needed, found = (f"{size / 1e9:,.0f} GB" for size in (weights * 16, memory))
        raise ConfigError(
            f"model.{key}={shown(model[key])}: {weights:,} weights take {needed} in training, and "
            f"this machine has {found}"
        )


def _memory() -> float:
    """Return the bytes of memory of this machine, or infinity where it does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return math.inf


def _check_batch_norm(config: DictConfig) -> None:
    """Check that no training step leaves a process a single sample, which has no variance."""
    model, data, trainer = config.model, config.data, config.trainer
    is_ours = {model._target_, data._target_} <= TARGETS
    if not is_ours or not model.get("batch_norm") or trainer.sync_batchnorm:
        return
    if not model.hidden_dims:  # batch norm of images counts pixels too
        return
    size, images = data.batch_size, NUM_TRAIN - data.val_size
    batches = batches_of(data)
    processes = (num_devices(trainer.devices) or 1) * (trainer.num_nodes or 1)
    steps = math.inf if trainer.max_steps in (None, -1) else trainer.max_steps
    trained = min(limited(trainer, batches), steps * (trainer.accumulate_grad_batches or 1))
    is_whole_epoch = trained == batches
    for samples, is_reached in ((min(size, images), True), (images % size, is_whole_epoch)):
        if is_reached and 0 < samples < 2 * processes:
            raise ConfigError(
                f"data.batch_size={size}: leaves a batch of {samples} of the {images:,} training "
                f"images, too few for model.batch_norm=true; change data.batch_size or "
                "data.val_size"
            )


def _check_monitors(config: DictConfig) -> None:
    """Check that what chooses the best model is measured, and that better is not taken for worse.

    A model of the user's own may measure anything.
    """
    if config.model._target_ not in TARGETS:
        return
    places = {"": config}
    for name, node in (config.callbacks or {}).items():
        places[f"callbacks.{name}."] = node
    for prefix, node in places.items():
        monitor, mode = node.get("monitor"), node.get("mode")
        if monitor is None:
            continue
        if monitor not in METRICS:
            allowed = ", ".join(METRICS)
            raise ConfigError(
                f"{prefix}monitor={monitor}: must be one of {allowed}{nearest(monitor, METRICS)}"
            )
        if mode is not None and mode != METRICS[monitor]:
            raise ConfigError(
                f"{prefix}mode={mode}: must be {METRICS[monitor]} where {prefix}monitor={monitor}"
            )
