"""Runs and sweeps below some folders: what each is, its state, and what differs."""

import functools
import gc
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mnist_lab.errors import LabError, StorageError, printable, reason
from mnist_lab.files.regular import check_links
from mnist_lab.report.leaderboard import setting_text
from mnist_lab.report.read_runs import (
    differing,
    read_metrics,
    read_settings,
    run_directories,
)
from mnist_lab.runs import directory
from mnist_lab.runs.directory import is_held
from mnist_lab.runs.exclusive import sweep_of
from mnist_lab.runs.labels import Labels, labels_of
from mnist_lab.runs.manifest import RunState, read_manifest
from mnist_lab.runs.summary import counted

BROKEN = "broken"  # state of a run that cannot be read
DIVERGED = "diverged"
_SHOWN_VALUES = 4  # of a key that a sweep varies


@dataclass
class Entry:
    """A run, or a sweep with its trials.

    Args:
        path: the directory, by the path that it was found by.
        state: a ``RunState``, ``diverged`` or ``broken``.
        started: seconds since 1970.
        settings: config values by dotted keys; of a sweep, those of its best trial.
        seed: the run's seed.
        metrics: as in ``metrics.json``; of a sweep, the best trial's.
        labels: tags and note.
        error: why the run failed or cannot be read.
        trials: of a sweep.
    """

    path: Path
    state: str
    started: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    seed: Any = None
    metrics: dict[str, float] = field(default_factory=dict)
    labels: Labels = Labels()
    error: str = ""
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
        return record | self.settings | directory.finite(self.metrics)


@functools.cache
def model_choices() -> dict[str, str]:
    """Return the names of ``model=`` by the class that each is."""
    from mnist_lab.config.schema import SCHEMAS  # takes as long to import as a hundred runs

    return {str(schema()._target_): name for name, schema in SCHEMAS["model"].items()}


def entries(places: Iterable[Path]) -> list[Entry]:
    """Read every run in or below some folders, newest first.

    One that cannot be read is an entry as well, with the reason as its error.

    Raises:
        InputError: a place is no directory.
    """
    was_enabled = gc.isenabled()
    gc.disable()  # it would search ten thousand entries, all of which stay, again and again
    try:
        found = [read_entry(path) for path in run_directories(places)]
    finally:
        if was_enabled:
            gc.enable()
    return sorted(found, key=lambda entry: (-entry.started, str(entry.path)))


def read_entry(path: Path) -> Entry:
    """Read a run."""
    try:
        entry = Entry(path, BROKEN, path.stat().st_mtime)
        check_links(path)
        manifest = read_manifest(path) if _has(path, directory.MANIFEST) else {}
        entry.labels = labels_of(manifest)
        entry.started = _seconds(manifest.get("started")) or entry.started
        entry.settings, entry.seed = read_settings(path)
        if _has(path, directory.METRICS):
            entry.metrics = read_metrics(path)
        entry.error = printable(str(manifest.get("error") or ""))
        entry.state = _state(path, manifest.get("state", RunState.FINISHED), entry)
    except LabError as error:
        entry.error = str(error)
    except OSError as error:
        entry.error = printable(f"{path}: cannot be read: {reason(error)}")
    return entry


def _has(path: Path, name: str) -> bool:
    return os.path.exists(f"{path}/{name}")  # a Path of each would take longer than the question


def _state(path: Path, state: Any, entry: Entry) -> str:
    """Return a run's state; one that a killed process left as running is interrupted."""
    if state == RunState.RUNNING:
        return RunState.RUNNING if is_training(path) else RunState.INTERRUPTED
    is_nan = any(map(math.isnan, entry.metrics.values()))
    if (state == RunState.FINISHED and is_nan) or entry.error.startswith("Diverged:"):
        return DIVERGED
    return str(state) if state in [*RunState] else RunState.INTERRUPTED


def is_training(path: Path) -> bool:
    """Return whether a process holds a run; where that cannot be asked, it is taken to be so."""
    try:
        return (path / directory.LOCK).exists() and is_held(path / directory.LOCK)
    except StorageError:
        return True


def _seconds(text: Any) -> float | None:
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def with_sweeps(runs: Sequence[Entry]) -> list[Entry]:
    """Return runs with each sweep as one entry, in the place of its newest trial."""
    rows: dict[Path, Entry] = {}
    sweep_in = functools.cache(lambda parent: sweep_of(parent / "trial"))
    for run in runs:
        if (sweep := sweep_in(run.path.parent)) is None:
            rows[run.path] = run
        else:
            rows.setdefault(sweep, Entry(sweep, run.state)).trials.append(run)
    for entry in rows.values():
        if entry.trials:
            _summarize(entry)
    return list(rows.values())


def has_trials(rows: Iterable[Entry]) -> bool:
    """Return whether a row is a sweep's trial, which are there to choose from."""
    parents = {row.path.absolute().parent for row in rows}
    return any(sweep_of(parent / "trial") for parent in parents)


def _rank(trial: Entry) -> float:
    """Return what is the smaller, the better the trial is; without a result it is the largest."""
    value = trial.value("monitored")
    return math.inf if value is None or math.isnan(value) else -trial.sign * value


def _summarize(sweep: Entry) -> None:
    """Give a sweep the result of its best trial, and the state of them all."""
    trials = sweep.trials
    best = min(trials, key=_rank)
    sweep.settings, sweep.metrics, sweep.seed = best.settings, dict(best.metrics), best.seed
    sweep.started = min(trial.started for trial in trials)
    if times := [trial.metrics["time/total"] for trial in trials if trial.metrics]:
        sweep.metrics["time/total"] = math.fsum(times)
    states = [trial.state for trial in trials]
    order = (RunState.RUNNING, RunState.INTERRUPTED, RunState.FINISHED)
    sweep.state = next((state for state in order if state in states), states[0])
    sweep.labels = Labels(tuple(dict.fromkeys(t for trial in trials for t in trial.labels.tags)))


def what_differs(runs: Sequence[Entry]) -> list[str]:
    """Return the settings that are not the same in all runs that have them, and ``seed``."""
    keys = names_of(run.settings for run in runs)
    names = [key for key in keys if not key.endswith("._target_") and _differs(runs, key)]
    return [*names, *differing({"seed": run.seed} for run in runs if run.settings)]


def names_of(mappings: Iterable[Mapping[str, Any]]) -> dict[str, None]:
    """Return the keys of mappings, most of which have the same, in order of appearance."""
    names: dict[str, None] = {}
    for mapping in mappings:
        if not mapping.keys() <= names.keys():
            names.update(dict.fromkeys(mapping))
    return names


def _differs(runs: Sequence[Entry], key: str) -> bool:
    values = [run.settings[key] for run in runs if key in run.settings]
    first = repr(values[0])
    return any(value is not values[0] and repr(value) != first for value in values)


def differences_text(entry: Entry, names: Sequence[str], headings: Sequence[str]) -> str:
    """Return an entry's values of what differs, as overrides; of a sweep, those of its trials."""
    if not entry.trials:
        values = {heading: entry.value(name) for name, heading in zip(names, headings, strict=True)}
        return " ".join(f"{key}={setting_text(v)}" for key, v in values.items() if v is not None)
    counts = Counter(trial.state for trial in entry.trials)
    parts = [
        f"{counted(len(entry.trials), 'trial')}:",
        *(f"{n} {state}," for state, n in counts.items()),
    ]
    for name in what_differs(entry.trials):
        varied = [trial.value(name) for trial in entry.trials]
        parts.append(f"{name.rpartition('.')[2]}={_span(varied)}")
    return " ".join(parts).rstrip(",")


def _span(values: Iterable[Any]) -> str:
    distinct = {setting_text(value): value for value in values if value is not None}
    are_numbers = all(isinstance(value, int | float) for value in distinct.values())
    texts = sorted(distinct, key=distinct.__getitem__) if are_numbers else list(distinct)
    if len(texts) <= _SHOWN_VALUES:
        return ",".join(texts)
    if are_numbers:
        return f"{texts[0]}..{texts[-1]}"
    return f"({len(distinct)} values)"
