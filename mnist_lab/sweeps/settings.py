"""Checks of ``hydra.sweeper``: ranges, packages, and settings that do not go together."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.knob import check_knob, knobs_of, nearest, shown
from mnist_lab.config.messages import unknown_key
from mnist_lab.config.metrics import measured
from mnist_lab.config.sweep_schema import POPULATION, WITH_RUNGS, Settings
from mnist_lab.errors import ConfigError
from mnist_lab.sweeps.space import Space

_CHANGEABLE = (
    *("optimizer.lr", "optimizer.weight_decay", "optimizer.momentum"),
    *("model.dropout", "model.label_smoothing"),
)
_ABOVE_ZERO = ("optimizer.momentum", "model.dropout")  # without which a run has no place for it
COSTS = ("num_params", "time/fit", "time/total")  # objectives besides what every run is judged by


def checked_node(prefix: str, schema: type, node: DictConfig) -> dict[str, Any]:
    """Return a node of a schema as builtins, once each key and value is checked.

    Raises:
        ConfigError: the schema has no such key, or a value is out of its range.
    """
    plain: dict[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    known = [field.name for field in fields(schema)]
    for name in plain:
        if name not in known:
            raise ConfigError(unknown_key(f"{prefix}.{name}", known))
    for field, _ in knobs_of(schema):
        check_knob(f"{prefix}.{field.name}", field, plain)
    return plain


def read_settings(node: DictConfig) -> Settings:
    """Return the settings of a ``hydra.sweeper`` node.

    Raises:
        ConfigError: a value is out of its range.
    """
    plain = checked_node("hydra.sweeper", Settings, node)
    for name in ("params", "sampler_options", "pruner_options", "objectives"):
        value = plain[name]
        if not isinstance(value, dict | None):
            raise ConfigError(
                f"hydra.sweeper.{name}={shown(value)}: must be a mapping, {{key: value}}"
            )
        plain[name] = value or {}
    if plain["pruner"] == "none":
        plain["pruner_options"] = {}  # of the pruner that a recipe has, and this takes the place of
    return Settings(**plain)


def check_settings(settings: Settings) -> None:
    """Check that settings go together, after ``auto`` is replaced.

    Raises:
        ConfigError: two do not.
    """
    if settings.storage is not None and settings.study_name is None:
        raise ConfigError(
            f"hydra.sweeper.storage={settings.storage}: needs hydra.sweeper.study_name, by which "
            "all who share the study find it"
        )
    if settings.is_grid and settings.n_trials is not None:
        raise ConfigError(
            f"hydra.sweeper.n_trials={settings.n_trials}: a grid has as many as its points; leave "
            "it out, or take hydra.sweeper.sampler=random"
        )
    if settings.pruner in WITH_RUNGS:
        for name in ("storage", "batch_size"):
            if (value := getattr(settings, name)) is not None:
                raise ConfigError(
                    f"hydra.sweeper.{name}={value}: must be null with pruner={settings.pruner}, "
                    "for which one process has all trials at once"
                )
    for kind in ("sampler", "pruner"):
        if "seed" in getattr(settings, f"{kind}_options"):
            raise ConfigError(f"hydra.sweeper.{kind}_options.seed: set hydra.sweeper.seed")
    if settings.is_grid and settings.sampler_options:
        raise ConfigError("hydra.sweeper.sampler_options: a grid has none")


def objectives_of(settings: Settings, config: DictConfig, is_own: bool) -> dict[str, str]:
    """Return the metrics that trials are ranked by, each with its mode, the monitored one first.

    A model of the user's own may log any metric.

    Raises:
        ConfigError: an objective is not measured, or does not go with sampler or pruner.
    """
    allowed = {**measured(config.metrics), **dict.fromkeys(COSTS, "min")}
    for name, mode in settings.objectives.items():
        key = f"hydra.sweeper.objectives.{name}"
        if name not in allowed and not is_own:
            raise ConfigError(f"{key}: must be one of {', '.join(allowed)}{nearest(name, allowed)}")
        needed = allowed.get(name)
        if mode not in ("max", "min") or mode != (needed or mode):
            raise ConfigError(f"{key}={mode}: must be {needed or 'max or min'}")
    if settings.objectives and settings.pruner != "none":
        raise ConfigError(
            f"hydra.sweeper.pruner={settings.pruner}: must be none where there are several "
            "objectives, which Optuna does not prune by"
        )
    objectives: dict[str, str] = {config.monitor: config.mode, **settings.objectives}
    measures = config.data.get("val_size", 1) != 0 and config.trainer.limit_val_batches != 0
    unmeasured = [name for name in objectives if name.startswith("val/") and not measures]
    if unmeasured and not (settings.is_grid and settings.pruner == "none"):
        raise ConfigError(
            f"{unmeasured[0]}: cannot be searched by without a validation; set data.val_size and "
            "trainer.limit_val_batches above 0"
        )
    return objectives


def check_population(settings: Settings, space: Space, config: DictConfig) -> None:
    """Check that what a population changes in mid-training can change there.

    Raises:
        ConfigError: it cannot.
    """
    needs = f"with hydra.sweeper.pruner={POPULATION}"
    if settings.is_grid:
        raise ConfigError(f"hydra.sweeper.sampler=grid: must be random {needs}")
    for dimension in space.dimensions:
        key = dimension.key.lstrip("+")
        if key not in _CHANGEABLE:
            raise ConfigError(
                f"{dimension.text}: must be one value {needs}, which searches what may change "
                f"between two epochs: {', '.join(_CHANGEABLE)}"
            )
        try:
            least = min(map(float, dimension.probes()))
        except ValueError:
            raise ConfigError(f"{dimension.text}: must be numbers {needs}") from None
        if key in _ABOVE_ZERO and least <= 0:
            raise ConfigError(
                f"{dimension.text}: must be above 0 {needs}, as a run that begins without cannot "
                "get any"
            )
    schedule = config.scheduler.get("name", "_target_")
    if schedule != "none":
        raise ConfigError(f"scheduler={schedule}: must be none {needs}, which sets the optimizer")
    if config.trainer.check_val_every_n_epoch not in (1, None):
        raise ConfigError(
            f"trainer.check_val_every_n_epoch={config.trainer.check_val_every_n_epoch}: must be 1 "
            f"{needs}, which compares trials by each epoch"
        )
    callbacks = config.callbacks or {}
    if "checkpoint" not in callbacks or config.trainer.enable_checkpointing is False:
        raise ConfigError(f"callbacks.checkpoint: must be there {needs}, whose trials copy it")
    if "phases" in callbacks:
        raise ConfigError(f"callbacks.phases: must be left out {needs}, which has its own")


def search_of(settings: Settings, objectives: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that decide which trials a sweep has, by dotted keys."""
    parts: dict[str, Any] = {"sampler": settings.sampler, "pruner": settings.pruner}
    if not settings.is_grid:
        parts["seed"] = settings.seed
    for name in ("sampler_options", "pruner_options"):
        parts |= {f"{name}.{key}": value for key, value in getattr(settings, name).items()}
    return parts | {f"objectives.{name}": mode for name, mode in objectives.items()}
