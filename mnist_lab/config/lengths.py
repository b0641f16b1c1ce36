"""Length of a run, the part of its config that may become more: a run can go further."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.config.overrides import check_sweeps, parse_overrides
from mnist_lab.errors import ConfigError, first_line

LENGTHS = ("trainer.max_epochs", "trainer.max_steps")
_DEFAULT_EPOCHS = 1000  # Lightning's, where neither is set


def typed_lengths(overrides: Sequence[str], also: Sequence[str] = ()) -> dict[str, Any]:
    """Return the lengths that overrides of a stored run set, beside ``allow_targets`` and ``also``.

    Raises:
        ConfigError: another key is set, or one has several values.
    """
    for text in overrides:
        if text.partition("=")[0] not in (*LENGTHS, "allow_targets", *also):
            raise ConfigError(
                f"{text}: not taken; a run's own config is used, and only {' and '.join(LENGTHS)} "
                "may be given, to go further"
            )
    parsed = parse_overrides(overrides)
    check_sweeps(parsed, RunMode.RUN)
    chosen = [override for override in parsed if override.key_or_group in LENGTHS]
    return {str(override.key_or_group): override.value() for override in chosen}


def set_lengths(config: DictConfig, lengths: Mapping[str, Any]) -> None:
    """Give a config other lengths.

    Raises:
        ConfigError: one is not of its type.
    """
    for key, value in lengths.items():
        try:
            OmegaConf.update(config, key, value)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{key}={value}: {first_line(error)}") from error


def lengths_of(config: DictConfig) -> dict[str, Any]:
    """Return the lengths of a config."""
    return {key: OmegaConf.select(config, key) for key in LENGTHS}


def limits(lengths: Mapping[str, Any]) -> tuple[float, float]:
    """Return the most epochs and steps that lengths allow, as ``lightning.Trainer`` reads them."""
    epochs, steps = (lengths.get(key) for key in LENGTHS)
    if epochs is None:
        epochs = _DEFAULT_EPOCHS if steps in (None, -1) else -1
    return math.inf if epochs == -1 else epochs, math.inf if steps in (None, -1) else steps


def is_longer(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether lengths allow for more than others, and for no less."""
    given = [value for lengths in (before, now) for value in lengths.values()]
    if not all(value is None or type(value) is int for value in given):
        return False
    old, new = limits(before), limits(now)
    return old != new and all(more >= less for more, less in zip(new, old, strict=True))
