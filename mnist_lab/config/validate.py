"""Checks a resolved config before anything heavy is imported.

A config is judged in this order, and the first fault is the one line that is shown:

1. files/yaml.py and OmegaConf, as it is read: size, syntax, types of the schema's keys.
2. write_paths.py: whether a run is where Hydra puts it.
3. allowlist.py: whether each ``_target_`` may be imported; then, of what came with a directory,
   write_paths.py: whether it writes only there.
4. ``check``, here: groups, keys, ranges, combinations, monitors; then validate_trainer.py: devices.
5. For a trial of a sweep, ``check_trial`` in validate_trainer.py.
6. allowlist.py again: whether each class has the role of its place. What the lab does not ship is
   judged here, and all once more before it is built, as that takes torch.
7. The constructors, Lightning and torch, whose own sentence is shown.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.allowlist import check_roles, is_the_labs
from mnist_lab.config.field import check_knob, knobs_of, nearest, shown
from mnist_lab.config.messages import unknown_key
from mnist_lab.config.options import choices
from mnist_lab.config.schema import METRICS, SCHEMAS
from mnist_lab.config.validate_trainer import check_trainer
from mnist_lab.data.sets import NUM_CLASSES
from mnist_lab.errors import ConfigError

_BUILT = ("model", "data", "trainer", "callbacks", "logger")  # groups of what is built


def check(config: DictConfig) -> None:
    """Check keys, ranges and combinations of a resolved config.

    Raises:
        ConfigError: a key is unknown, or a value is out of its range.
        UntrustedError: a class that the lab does not ship has another role than its place.
    """
    for group in SCHEMAS:
        if group not in config or OmegaConf.is_missing(config, group):
            raise ConfigError(f"{group}: must be chosen, one of {', '.join(choices(group))}")
    for group in ("callbacks", "logger"):
        for name, node in (config[group] or {}).items():
            if not isinstance(node, DictConfig) or "_target_" not in node:
                raise ConfigError(
                    f"{group}.{name}={shown(node)}: must be a mapping with a _target_; "
                    f"~{group}.{name} leaves it out"
                )
    for prefix, node in _typed_nodes(config):
        schema = OmegaConf.get_type(node)
        known = {field.name for field in fields(schema)}  # type: ignore[arg-type]
        for name in node:
            if name not in known and not (prefix == "" and name == "hydra"):
                raise ConfigError(unknown_key(f"{prefix}{name!s}", map(str, node)))
        for field, _ in knobs_of(schema):
            check_knob(f"{prefix}{field.name}", field, node)
    _check_combinations(config)
    _check_monitors(config)
    check_trainer(config)
    plain = {name: OmegaConf.to_container(config[name]) for name in _BUILT if config[name]}
    check_roles(plain, config.allow_targets, only_foreign=True)


def _typed_nodes(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Yield each node that has a schema, with its key and a dot."""
    if is_dataclass(OmegaConf.get_type(config)):
        yield prefix, config
    for name in config:
        node = None if OmegaConf.is_missing(config, name) or name == "hydra" else config[name]
        if isinstance(node, DictConfig):
            yield from _typed_nodes(node, f"{prefix}{name!s}.")


def _check_combinations(config: DictConfig) -> None:
    """Check what one knob alone cannot know."""
    optimizer = config.optimizer
    if optimizer.get("nesterov") and not optimizer.momentum:
        raise ConfigError("optimizer.nesterov=true: needs optimizer.momentum above 0")
    model, data = config.model, config.data
    is_the_labs_data = is_the_labs(data._target_)
    if is_the_labs_data and model.get("num_classes", NUM_CLASSES) < NUM_CLASSES:
        raise ConfigError(
            f"model.num_classes={model.num_classes}: must be at least {NUM_CLASSES}, the classes "
            f"of data.dataset={data.dataset}"
        )


def _check_monitors(config: DictConfig) -> None:
    """Check that the metric that chooses the best model is measured, and its mode fits it.

    A model of the user's own may measure anything.
    """
    if not is_the_labs(config.model._target_):
        return
    callbacks = (config.callbacks or {}).items()
    for prefix, node in [("", config), *((f"callbacks.{name}.", node) for name, node in callbacks)]:
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
