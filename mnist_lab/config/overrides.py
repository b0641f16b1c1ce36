"""Parses and checks overrides of the command line."""

import functools
import os
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.messages import explain
from mnist_lab.config.schema import SCHEMAS
from mnist_lab.errors import ConfigError, first_line

RANGE = "lr_range"  # the choice of a sweep that has a sweeper of its own
# Trials of a sweep are compared by the same metric, below one directory, with the same code.
_SAME_FOR_ALL = ("allow_targets", "bits", "mode", "monitor", "run_dir", "sweep")


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides of the command line.

    Raises:
        ConfigError: one cannot be read.
    """
    try:
        parsed = list(map(_parsed, overrides))
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    except (RecursionError, ValueError) as error:  # the latter: a number of thousands of digits
        raise ConfigError(f"an override cannot be read: {first_line(error)}") from error
    for override in parsed:
        if not override.key_or_group:
            raise ConfigError(f"{override.input_line}: must be KEY=VALUE")
    return parsed


@functools.lru_cache(maxsize=10_000)
def _parsed(override: str) -> Override:
    """Parse an override; the trials of a sweep share most of theirs."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    return parsed


def with_names(override: Override, options: Sequence[str]) -> str:
    """Return an override of a group as Hydra takes it: null chooses nothing, a number is a name.

    Raises:
        ConfigError: there must be a choice, or a value is neither a name nor a list of names.
    """
    value, line, group = override.value(), str(override.input_line), override.key_or_group
    if override.is_delete() and not isinstance(value, str | QuotedString | int | float | None):
        raise ConfigError(f"{line}: must be ~{group}, or ~{group}=CHOICE")
    values = value.list if isinstance(value, ChoiceSweep) else [value]
    if isinstance(value, dict | Glob | IntervalSweep | RangeSweep) or all(map(_is_name, values)):
        return line
    if override.is_delete() and value is None:
        return line
    wrong = ConfigError(f"{line}: must be one of {', '.join(options)}")
    empty = "none" if "none" in options else ""
    if not empty and (group in SCHEMAS or group.startswith("hydra")) and None in values:
        raise wrong

    def text(part: Any, nothing: str) -> str:
        if part is None and nothing:
            return nothing
        if part is None or isinstance(part, dict | list):
            raise wrong
        if _is_name(part):
            return Transformer.str(part)
        return '"' + (str(part).lower() if isinstance(part, bool) else str(part)) + '"'

    texts = [
        f"[{','.join(text(part, empty) for part in item)}]"
        if isinstance(item, list)
        else text(item, empty or "[]")
        for item in values
    ]
    return f"{override.get_key_element()}={','.join(texts)}"


def _is_name(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return all(isinstance(part, str | QuotedString) for part in parts)


def opened_targets(overrides: Sequence[str]) -> list[str]:
    """Return what ``allow_targets`` opens on the command line.

    Raises:
        ConfigError: an override cannot be read.
    """
    opened: list[str] = []
    for override in parse_overrides(overrides):
        if override.key_or_group != "allow_targets":
            continue
        value = override.value()
        if not isinstance(value, list) or not all(isinstance(target, str) for target in value):
            raise ConfigError(
                f"{override.input_line}: must be a list of names, as in allow_targets=[my_package.]"
            )
        opened = [str(target) for target in value]
    return opened


def typed_source(overrides: Sequence[str]) -> str | None:
    """Return the path that ``init_from`` names on the command line; None where it is not typed.

    Raises:
        ConfigError: an override cannot be read.
    """
    values = [
        item.value() for item in parse_overrides(overrides) if item.key_or_group == "init_from"
    ]
    if not values:
        return None
    if not isinstance(values[-1], str | QuotedString):
        raise ConfigError("init_from: must be a run's directory, or a checkpoint's file")
    text = values[-1].text if isinstance(values[-1], QuotedString) else values[-1]
    return os.path.abspath(os.path.expanduser(text))


def given_overrides(hydra: DictConfig, part: str = "task") -> list[str]:
    """Return what a config was composed with, as it was written; ``hydra`` is for keys below it."""
    overrides: Any = OmegaConf.to_container(hydra.overrides[part], resolve=False)
    return [str(text) for text in overrides]


def own_choices(overrides: Sequence[Override]) -> list[str]:
    """Return choices that follow from others.

    An optimizer and a schedule whose class is named and no file is, and the sweeper of a range
    test, which ``conf/train.yaml`` would choose before a file of ``conf/sweep/``.
    """
    keys = {override.key_or_group for override in overrides}
    groups = ("optimizer", "scheduler")
    own = [f"{name}=own" for name in groups if f"{name}._target_" in keys and name not in keys]
    is_test = any(item.key_or_group == "sweep" and item.value() == RANGE for item in overrides)
    return [*own, f"hydra/sweeper={RANGE}"] if is_test and "hydra/sweeper" not in keys else own


def key_and_value(override: Override) -> tuple[str, str]:
    """Return an override in the spelling that sweepers give it."""
    return override.get_key_element(), override.get_value_element_as_str()


def check_can_vary(override: Override) -> None:
    """Check that a key may have several values in a sweep.

    Raises:
        ConfigError: it is of the sweep as a whole.
    """
    if override.is_hydra_override() or override.key_or_group in _SAME_FOR_ALL:
        raise ConfigError(
            f"{override.input_line}: must have one value, as it is the same for all trials"
        )


def check_sweeps(overrides: Sequence[Override], mode: RunMode) -> None:
    """Check that only a sweep has several values of a key, and only of one that may vary.

    Raises:
        ConfigError: another key has several.
    """
    for override in overrides:
        if not override.is_sweep_override():
            continue
        if mode == RunMode.RUN:
            key, _, text = str(override.input_line).partition("=")
            told = (
                f"a text is written '{key}=\"{text}\"'"
                if " " in text
                else "a list is written [1,2]"
            )
            raise ConfigError(
                f"{override.input_line}: several values are a sweep, which needs -m; {told}"
            )
        check_can_vary(override)


def check_place_keys(overrides: Sequence[Override], mode: RunMode) -> None:
    """Refuse the key of a sweep's directory for one run, and that of a run's for a sweep.

    Raises:
        ConfigError: Hydra would take no notice of what was typed.
    """
    one_run, sweep = ("one run", "hydra.run.dir"), ("a sweep", "hydra.sweep.dir")
    here, other = (one_run, sweep) if mode == RunMode.RUN else (sweep, one_run)
    for override in overrides:
        if override.key_or_group == other[1]:
            raise ConfigError(
                f"{override.input_line}: is of {other[0]}; the directory of {here[0]} is {here[1]}"
            )
