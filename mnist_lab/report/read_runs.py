"""Search for runs below directories, and reading of untrusted configs and metrics."""

import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mnist_lab.config.renames import renamed_values
from mnist_lab.errors import InputError, LabError, printable, reason
from mnist_lab.files.regular import check_links
from mnist_lab.files.yaml import read_yaml
from mnist_lab.runs import directory as runs
from mnist_lab.runs.labels import LABELS, Labels, labels_of
from mnist_lab.runs.manifest import SEEDS, TEST_READINGS, RunState, flat, read_manifest
from mnist_lab.runs.trash import TRASH

# Places of a run, and how it was shown and saved, which do not affect its result.
_NO_SETTINGS = (
    "run_dir",
    "allow_targets",
    "threads",
    *LABELS,
    "data.root",
    "trainer.default_root_dir",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "callbacks.checkpoint.every_n_seconds",
    "callbacks.checkpoint.every_n_steps",
)
_NO_SETTINGS_BELOW = ("logger.", "metrics.", "callbacks.pictures.", "callbacks.progress.")
_FOLD = "data.fold"
NOT_SEARCHED = {".hydra", ".git", TRASH, runs.CHECKPOINTS, runs.LEDGER, "projector"}


class Phase(NamedTuple):
    """Epochs, from one on, that a trial of a population has trained weights.

    Args:
        epoch: the first of them, from 0.
        trial: the trial's number.
    """

    epoch: int
    trial: int


@dataclass(frozen=True)
class Run:
    """One finished run.

    Args:
        directory: the path by which it was found.
        settings: config values that may affect its result, by dotted keys; no seeds.
        seed: its seed, and its fold where it is one of a cross-validation.
        metrics: as in ``metrics.json``.
        test_readings: how often its test images were read; None where that is not counted.
        labels: tags and note.
        lineage: where it has copied others, whose weights it has, in the order of epochs.
    """

    directory: Path
    settings: dict[str, Any]
    seed: Any
    metrics: dict[str, float]
    test_readings: int | None = None
    labels: Labels = Labels()
    lineage: Sequence[Phase] = ()


@dataclass
class Collected:
    """The runs below some directories.

    Args:
        runs: the finished ones.
        unfinished: number of runs in each other state.
        broken: for each run that cannot be read, the error in a line.
    """

    runs: list[Run] = field(default_factory=list)
    unfinished: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def run_directories(places: Iterable[Path]) -> list[Path]:
    """Return the directories of all runs in or below others, each once, in order of their names.

    Raises:
        InputError: a place is no directory.
    """
    by_target: dict[str, Path] = {}
    for place in places:
        if not os.path.isdir(place):
            raise InputError(f"{place}: no such directory; give those of runs or sweeps")
        target = os.path.realpath(place)  # below it no link is followed
        start = os.fspath(place)
        for folder, names, files in os.walk(start):
            names[:] = sorted(set(names) - NOT_SEARCHED)
            if runs.METRICS in files or runs.MANIFEST in files:
                by_target.setdefault(target + folder[len(start) :], Path(folder))
    return list(by_target.values())


def collect(
    places: Iterable[Path], watched: Callable[[list[Path]], Iterable[Path]] = lambda paths: paths
) -> Collected:
    """Read every run in or below some directories.

    Raises:
        InputError: a place is no directory.
    """
    collected = Collected()
    for path in watched(run_directories(places)):
        try:
            check_links(path)
            file = path / runs.MANIFEST
            manifest = runs.read_json(file) if file.exists() else None
            state = _state(manifest)
            run = read_run(path, manifest) if state == RunState.FINISHED else None
            if run is not None and run.settings.get("trainer.fast_dev_run"):
                run, state = None, "fast_dev_run"  # a batch of everything is no result
            if run is not None:
                collected.runs.append(run)
            else:
                collected.unfinished[state] = collected.unfinished.get(state, 0) + 1
        except LabError as error:
            collected.broken.append(str(error))
        except OSError as error:  # no permission for its directory
            collected.broken.append(printable(f"{path}: cannot be read: {reason(error)}"))
    return collected


def _state(manifest: Mapping[str, Any] | None) -> str:
    """Return a run's state; one that has only its metrics left was finished."""
    if manifest is None:
        return RunState.FINISHED
    state = manifest.get("state")
    return str(state) if state in [*RunState] else RunState.INTERRUPTED


def read_run(path: Path, manifest: Mapping[str, Any] | None = None) -> Run:
    """Read a run.

    Args:
        path: its directory.
        manifest: the content of its manifest, which has its labels.

    Raises:
        InputError: a file of it is missing or corrupt.
        UntrustedError: its config has YAML tags.
    """
    settings, seed = read_settings(path)
    if (fold := settings.pop(_FOLD, None)) is not None:  # a repetition, as another seed is
        seed = f"{seed}, fold {fold}"
    readings = None
    if settings.get("protocol") == "sealed" and (path / runs.MANIFEST).exists():
        readings = len(read_manifest(path).get(TEST_READINGS, []))
    labels, lineage = labels_of(manifest or {}), _lineage(manifest or {})
    return Run(path, settings, seed, read_metrics(path), readings, labels, lineage)


def _lineage(manifest: Mapping[str, Any]) -> list[Phase]:
    """Return the phases that a manifest has, none where they are not what a sweep writes."""
    try:
        phases = [Phase(phase["epoch"], phase["trial"]) for phase in manifest.get("lineage", [])]
    except (KeyError, TypeError):
        return []
    is_right = all(
        type(number) is int and 0 <= number < 10**6 for phase in phases for number in phase
    )
    return phases if is_right and phases == sorted(phases) else []


def read_settings(path: Path) -> tuple[dict[str, Any], Any]:
    """Return the settings that may affect a run's result, by dotted keys, and its seed.

    Raises:
        InputError: its config is missing or corrupt.
        UntrustedError: its config has YAML tags.
    """
    config = path / runs.CONFIG
    settings = read_yaml(config, settings_of)
    if not any(key.startswith("model.") for key in settings):
        raise InputError(f"{config}: not a run's config: model: must be a mapping")
    if settings.get(_FOLD) is None:  # in a run that is no part of a cross-validation
        settings.pop(_FOLD, None)
    return settings, settings.pop("seed", None)


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a config, or a section of it, may affect a result, and ``seed``."""
    values = renamed_values(flat(config))
    if values.get("protocol") == "open":  # as in a run from before there was a choice
        del values["protocol"]
    is_own = values.get("data.dataset") in ("folder", "arrays")  # of which the place says which
    names = {key: _name(key) for key in values}
    if is_own and "data.root" in values:
        names["data.root"] = "data.root"
    return {name: _plain(values[key]) for key, name in names.items() if name is not None}


def read_metrics(path: Path) -> dict[str, float]:
    """Return a run's metrics; a number too large for a float is NaN.

    Raises:
        InputError: they are missing or corrupt.
    """
    metrics = {}
    for name, value in runs.read_metrics(path).items():
        name = name if name.isprintable() else printable(name)  # of thousands of runs
        try:
            metrics[name] = float(value)
        except OverflowError:
            metrics[name] = math.nan
    return metrics


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
    return [key for key in keys if len({_identity(run.get(key)) for run in settings}) > 1]


def _identity(value: Any) -> tuple[str, Any]:
    """Return what distinguishes true from 1, and a number from its text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return ("number" if is_number else type(value).__name__), value


def grouped(runs_read: Iterable[Run]) -> Iterator[list[Run]]:
    """Yield the runs that differ in nothing but their seed, group by group."""
    groups: dict[Any, list[Run]] = {}
    for run in runs_read:
        key = frozenset(
            (name, _identity(value)) for name, value in run.settings.items() if value is not None
        )
        groups.setdefault(key, []).append(run)
    yield from groups.values()
