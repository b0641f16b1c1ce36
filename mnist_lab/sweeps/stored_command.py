"""Command that resumes a sweep: what its ``sweep.json`` may say of it, and what is typed again."""

import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from hydra.core.override_parser.types import Override, Quote, QuotedString

from mnist_lab.config.overrides import parse_overrides
from mnist_lab.config.renames import renamed
from mnist_lab.config.sweep_schema import LAUNCHERS, PLACES, Settings
from mnist_lab.errors import InputError, UntrustedError
from mnist_lab.runs.directory import SWEEP
from mnist_lab.runs.manifest import flat
from mnist_lab.sweeps.plan import read_plan

_DROPPED = ("allow_targets", "hydra.mode", "hydra.sweep.dir", "hydra.sweeper.retry_failed")
_FREE = {
    *("hydra/sweeper", "hydra/launcher", "hydra.sweep.subdir", "hydra.job.config"),
    *(f"hydra.sweeper.{field.name}" for field in fields(Settings)),
    *(f"hydra.launcher.{field.name}" for node in LAUNCHERS.values() for field in fields(node)),
} - {*PLACES, "hydra.sweeper._target_", "hydra.launcher._target_"}


def resuming_arguments(folder: Path, typed: Sequence[str], config_dirs: Sequence[str]) -> list[str]:
    """Return the arguments of ``mnist-lab train`` that resume a directory's sweep.

    A typed override takes the place of the file's. Targets that were opened, places, addresses,
    names of studies and shell lines are never read from the file.

    Raises:
        ConfigError: an override cannot be read.
        InputError: the directory holds no sweep, or its file is corrupt.
        UntrustedError: the file says what has to be typed.
    """
    path, stored = folder / SWEEP, read_plan(folder)
    if stored is None:
        raise InputError(f"{path}: no such file; is {folder} a sweep's directory?")
    texts = stored["overrides"]
    if not all(isinstance(text, str) and not text.startswith("-") for text in texts):
        raise InputError(f"{path}: overrides: must be of the form key=value")
    texts = [renamed(text) for text in texts]
    keys = [*_DROPPED, *(override.key_or_group for override in parse_overrides(typed))]
    kept = [override for override in parse_overrides(texts) if not _is_replaced(override, keys)]
    refused = [str(override.input_line) for override in kept if not _may_be_stored(override)]
    if stored["config_dir"] and not config_dirs:
        refused.insert(0, f"--config-dir {stored['config_dir']}")
    if refused:
        raise UntrustedError(
            f"{path}: {'; '.join(refused)}: taken from the command line only; type what is yours "
            f"of it again, after mnist-lab resume {shlex.quote(str(folder))}"
        )
    folders = [word for name in config_dirs for word in ("--config-dir", name)]
    place = QuotedString(str(folder), Quote.single).with_quotes()
    lines = [str(override.input_line) for override in kept]
    return ["-m", *folders, *lines, *typed, f"hydra.sweep.dir={place}"]


def _is_replaced(override: Override, keys: Sequence[str]) -> bool:
    """Return whether one of the keys sets anew what an override of the file does."""
    own = override.key_or_group
    return any(
        own == key or own.startswith((f"{key}.", f"{key.replace('/', '.')}.")) for key in keys
    )


def _may_be_stored(override: Override) -> bool:
    """Return whether an override says nothing that has to be typed."""
    key, (_, _, value) = override.key_or_group, str(override.input_line).partition("=")
    if "hydra" in (override.package or "").split("."):
        return False
    if "." not in key and (".." in value or "${" in value):  # a group's choice is a file's name
        return False
    if key.startswith("hydra.sweeper.params"):
        return all(
            _may_be_stored(param) and not param.is_hydra_override() for param in _params(override)
        )
    if key.partition(".")[0].partition("/")[0] == "hydra":
        return ".".join(key.split(".")[:3]) in _FREE and not override.is_delete()
    return key not in ("data.root", "init_from") and not (key == "data" and "{" in value)


def _params(override: Override) -> list[Override]:
    """Return the overrides of trials that ``hydra.sweeper.params`` stands for."""
    key = override.key_or_group.removeprefix("hydra.sweeper.params").lstrip(".")
    value = override.value()
    values = flat({key: value}) if key else flat(value) if isinstance(value, dict) else {}
    return parse_overrides([f"{name}={value}" for name, value in values.items()])
