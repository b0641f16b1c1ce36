"""Search for runs below directories, and reading of untrusted runs."""

import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from mnist_lab.errors import InputError, LabError, StorageError, printable, reason
from mnist_lab.files.regular import check_links
from mnist_lab.report.settings import FOLD, identity, read_settings
from mnist_lab.runs import directory as runs
from mnist_lab.runs.exclusive import sweep_of
from mnist_lab.runs.labels import Labels, labels_of
from mnist_lab.runs.manifest import (
    TEST_READINGS,
    RunState,
    is_sealed,
    read_manifest,
)
from mnist_lab.runs.trash import TRASH

NOT_SEARCHED = {".hydra", ".git", TRASH, runs.CHECKPOINTS, runs.LEDGER, "projector"}

BROKEN = "broken"  # state of a run that cannot be read
DIVERGED = "diverged"
FAST_DEV_RUN = "fast_dev_run"  # state of a finished one: a batch of everything is no result


class Phase(NamedTuple):
    """Epochs, from one on, that a trial of a population has trained weights.

    Args:
        epoch: the first of them, from 0.
        trial: the trial's number.
    """

    epoch: int
    trial: int


@dataclass
class Entry:
    """A run, or a sweep with its trials.

    Args:
        path: the directory, by the path that it was found by.
        state: a ``RunState``, ``fast_dev_run``, ``diverged`` or ``broken``.
        recorded: the ``RunState`` in its manifest; empty where that cannot be read.
        started: seconds since 1970.
        settings: config values by dotted keys; of a sweep, those of its best trial.
        seed: the run's seed.
        metrics: as in ``metrics.json``; of a sweep, the best trial's.
        labels: tags and note.
        error: why the run failed or cannot be read.
        test_readings: how often its test images were read; None where that is not counted.
        lineage: where it has copied others, whose weights it has, in the order of epochs.
        trials: of a sweep.
    """

    path: Path
    state: str
    recorded: str = ""
    started: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    seed: Any = None
    metrics: dict[str, float] = field(default_factory=dict)
    labels: Labels = Labels()
    error: str = ""
    test_readings: int | None = None
    lineage: Sequence[Phase] = ()
    trials: list["Entry"] = field(default_factory=list)

    @property
    def monitor(self) -> str:
        """The metric that the run is judged by."""
        return str(self.settings.get("monitor", "val/acc"))

    @property
    def model_names(self) -> tuple[str, ...]:
        """What the model is called, in small letters: its class, and the choice as it is typed."""
        names = (self.value("model"), model_choices().get(str(self.settings.get("model._target_"))))
        return tuple(name.lower() for name in names if name)

    @property
    def sign(self) -> int:
        """1 where more of the monitored metric is better, else -1."""
        return -1 if self.settings.get("mode") == "min" else 1

    def value(self, name: str) -> Any:
        """Return a field, metric or setting by its full name; None where the entry has none."""
        match name:
            case "run":
                return str(self.path)
            case "age":
                return time.time() - self.started
            case "started":
                return datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds")
            case "model":
                # Of a model of any module the module's class is what it is about.
                target = self.settings.get("model.net._target_") or self.settings.get(
                    "model._target_"
                )
                return str(target or "").rpartition(".")[2] or None
            case "monitored":
                return self.metrics.get(self.monitor)
            case "time":
                return self.metrics.get("time/total")
            case "tag" | "tags":
                return self.labels.tags
            case "note":
                return self.labels.note or None
            case "trials":
                return len(self.trials) or None
            case "error":
                return self.error or None
            case "state" | "monitor" | "seed":
                return getattr(self, name)
        return self.metrics.get(name, self.settings.get(name))

    def record(self) -> dict[str, Any]:
        """Return everything for other programs, flat."""
        own = ("run", "state", "started", "model", "seed", "monitor", "tags", "note", "error")
        record = {name: self.value(name) for name in own}
        if self.trials:
            record["trials"] = len(self.trials)
        return record | self.settings | runs.finite(self.metrics)


@functools.cache
def model_choices() -> dict[str, str]:
    """Return the names of ``model=`` by the class that each is."""
    from mnist_lab.config.schema import SCHEMAS  # takes as long to import as a hundred runs

    return {str(schema()._target_): name for name, schema in SCHEMAS["model"].items()}


@dataclass
class Collected:
    """The runs below some directories.

    Args:
        runs: the finished ones.
        unfinished: number of runs in each other state.
        broken: for each run that cannot be read, the error in a line.
    """

    runs: list[Entry] = field(default_factory=list)
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
        run = read_entry(path, needs_metrics=True)
        state, is_finished = run.recorded, run.recorded == RunState.FINISHED
        if run.state == BROKEN and (is_finished or not state):
            collected.broken.append(run.error)
            continue
        if run.state == FAST_DEV_RUN:
            state = FAST_DEV_RUN
        if state != RunState.FINISHED:
            collected.unfinished[state] = collected.unfinished.get(state, 0) + 1
            continue
        if (fold := run.settings.pop(FOLD, None)) is not None:  # a repetition, as another seed is
            run.seed = f"{run.seed}, fold {fold}"
        collected.runs.append(run)
    return collected


def read_entry(path: Path, needs_metrics: bool = False) -> Entry:
    """Read a run; one that cannot be read is an entry as well, with the reason as its error."""
    entry = Entry(path, BROKEN)
    try:
        entry.started = path.stat().st_mtime
        check_links(path)
        has_manifest = _has(path, runs.MANIFEST)
        manifest = read_manifest(path) if has_manifest else {"state": RunState.FINISHED}
        state = manifest.get("state")
        entry.recorded = str(state) if state in [*RunState] else RunState.INTERRUPTED
        entry.labels = labels_of(manifest)
        entry.started = _seconds(manifest.get("started")) or entry.started
        entry.settings, entry.seed = read_settings(path)
        if has_manifest and is_sealed(entry.settings):
            entry.test_readings = len(manifest.get(TEST_READINGS, []))
        entry.lineage = _lineage(manifest)
        if needs_metrics or _has(path, runs.METRICS):
            entry.metrics = read_metrics(path)
        entry.error = printable(str(manifest.get("error") or ""))
        entry.state = _state(entry)
    except LabError as error:
        entry.error = str(error)
    except OSError as error:
        entry.error = printable(f"{path}: cannot be read: {reason(error)}")
    return entry


def _has(path: Path, name: str) -> bool:
    return os.path.exists(f"{path}/{name}")  # a Path of each would take longer than the question


def _state(entry: Entry) -> str:
    """Return a run's state; one that a killed process left as running is interrupted."""
    if entry.recorded == RunState.RUNNING:
        return RunState.RUNNING if is_training(entry.path) else RunState.INTERRUPTED
    if entry.recorded == RunState.FINISHED and entry.settings.get("trainer.fast_dev_run"):
        return FAST_DEV_RUN
    is_nan = any(map(math.isnan, entry.metrics.values()))
    if (entry.recorded == RunState.FINISHED and is_nan) or entry.error.startswith("Diverged:"):
        return DIVERGED
    return entry.recorded


def is_training(path: Path) -> bool:
    """Return whether a process holds a run; where that cannot be asked, it is taken to be so."""
    try:
        return (path / runs.LOCK).exists() and runs.is_held(path / runs.LOCK)
    except StorageError:
        return True


def _seconds(text: Any) -> float | None:
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None


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


def has_trials(entries: Iterable[Entry]) -> bool:
    """Return whether an entry is a sweep's trial, which are there to choose from."""
    parents = {entry.path.absolute().parent for entry in entries}
    return any(sweep_of(parent / "trial") for parent in parents)


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


def grouped(runs_read: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield the runs that differ in nothing but their seed, group by group."""
    groups: dict[Any, list[Entry]] = {}
    for run in runs_read:
        key = frozenset(
            (name, identity(value)) for name, value in run.settings.items() if value is not None
        )
        groups.setdefault(key, []).append(run)
    yield from groups.values()
