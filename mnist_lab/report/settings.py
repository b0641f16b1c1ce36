"""Settings of runs: those that may affect a result, and those in which runs differ."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mnist_lab.config.renames import renamed_values, with_added
from mnist_lab.errors import InputError, printable
from mnist_lab.files.yaml import read_yaml
from mnist_lab.runs.directory import CONFIG
from mnist_lab.runs.labels import LABELS
from mnist_lab.runs.manifest import SEEDS, flat

# Places of a run, and how it was shown and saved, which do not affect its result.
_NO_SETTINGS = (
    "run_dir",
    "allow_targets",
    "threads",
    *LABELS,
    "metrics",
    "data.root",
    "trainer.default_root_dir",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "callbacks.checkpoint.every_n_seconds",
    "callbacks.checkpoint.every_n_steps",
)
_NO_SETTINGS_BELOW = ("logger.", "metrics.", "callbacks.pictures.", "callbacks.progress.")
FOLD = "data.fold"


def read_settings(path: Path) -> tuple[dict[str, Any], Any]:
    """Return the settings that may affect a run's result, by dotted keys, and its seed.

    Raises:
        InputError: its config is missing or corrupt.
        UntrustedError: its config has YAML tags.
    """
    config = path / CONFIG
    settings = read_yaml(config, settings_of)
    if not any(key.startswith("model.") for key in settings):
        raise InputError(f"{config}: not a run's config: model: must be a mapping")
    if settings.get(FOLD) is None:  # in a run that is no part of a cross-validation
        settings.pop(FOLD, None)
    return settings, settings.pop("seed", None)


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a config, or a section of it, may affect a result, and ``seed``."""
    values = with_added(renamed_values(flat(config)))
    if values.get("protocol") == "open":  # as in a run from before there was a choice
        del values["protocol"]
    is_own = values.get("data.dataset") in ("folder", "arrays")  # of which the place says which
    names = {key: _name(key) for key in values}
    if is_own and "data.root" in values:
        names["data.root"] = "data.root"
    return {name: _plain(values[key]) for key, name in names.items() if name is not None}


@functools.lru_cache(maxsize=1024)  # thousands of runs have the same keys
def _name(key: str) -> str | None:
    """Return a setting's key, or ``seed``, as a terminal shows it; None for what is no setting."""
    is_none = key in (*_NO_SETTINGS, *SEEDS) or key.startswith(_NO_SETTINGS_BELOW)
    return None if is_none and key != "seed" else printable(key)


def _plain(value: Any) -> Any:
    """Return a value that can be compared, sorted and printed; a list becomes text."""
    if isinstance(value, list):
        value = "[" + ",".join(map(str, value)) + "]"
    if isinstance(value, str):
        return printable(value)
    return value if isinstance(value, bool | int | float) else None


def differing(settings: Iterable[dict[str, Any]]) -> list[str]:
    """Return the keys whose values are not the same everywhere; a missing key counts as null."""
    settings = list(settings)
    keys = dict.fromkeys(key for run in settings for key in run)
    return [key for key in keys if len({identity(run.get(key)) for run in settings}) > 1]


def identity(value: Any) -> tuple[str, Any]:
    """Return what distinguishes true from 1, and a number from its text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return ("number" if is_number else type(value).__name__), value
