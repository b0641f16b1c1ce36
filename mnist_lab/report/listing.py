"""Runs and sweeps below some folders: their state, what differs, and which of them are chosen."""

import difflib
import math
import operator
import re
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mnist_lab.errors import ConfigError, LabError, StorageError, printable, reason
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
from mnist_lab.runs.labels import Labels, labels_of
from mnist_lab.runs.manifest import RunState, read_manifest

BROKEN = "broken"  # state of a run that cannot be read
DIVERGED = "diverged"
FIELDS = (
    *("run", "age", "state", "model", "monitor", "monitored", "seed", "time", "tag", "tags"),
    *("note", "trials", "started", "error"),
)
"""What a row has besides its settings and metrics."""
_TERM = re.compile(r"([^=<>!\s]+)(<=|>=|!=|=|<|>)(.*)", re.DOTALL)
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_UNITS = {"%": 0.01, "s": 1, "min": 60, "h": 3600, "d": 86400}
_SHOWN_VALUES = 4  # of a key that a sweep varies


@dataclass
class Entry:
    """A run, or a sweep with its trials.

    Args:
        path: the directory, by the path that it was found by.
        state: a ``RunState``, ``diverged`` or ``broken``.
        started: seconds since 1970.
        settings: config values by dotted keys; of a sweep, those of its first trial.
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
                return str(self.settings.get("model._target_", "")).rpartition(".")[2] or None
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


def entries(places: Iterable[Path]) -> list[Entry]:
    """Read every run in or below some folders, newest first.

    One that cannot be read is an entry as well, with the reason as its error.

    Raises:
        InputError: a place is no directory.
    """
    found = [read_entry(path) for path in run_directories(places)]
    return sorted(found, key=lambda entry: (-entry.started, str(entry.path)))


def read_entry(path: Path) -> Entry:
    """Read a run."""
    try:
        entry = Entry(path, BROKEN, path.stat().st_mtime)
        check_links(path)
        manifest = read_manifest(path) if (path / directory.MANIFEST).exists() else {}
        entry.labels = labels_of(manifest)
        entry.started = _seconds(manifest.get("started")) or entry.started
        entry.settings, entry.seed = read_settings(path)
        if (path / directory.METRICS).exists():
            entry.metrics = read_metrics(path)
        entry.error = printable(str(manifest.get("error") or ""))
        entry.state = _state(path, manifest.get("state", RunState.FINISHED), entry)
    except LabError as error:
        entry.error = str(error)
    except OSError as error:
        entry.error = printable(f"{path}: cannot be read: {reason(error)}")
    return entry


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
    for run in runs:
        if (sweep := sweep_of(run.path)) is None:
            rows[run.path] = run
        else:
            rows.setdefault(sweep, Entry(sweep, run.state)).trials.append(run)
    for entry in rows.values():
        if entry.trials:
            _summarize(entry)
    return list(rows.values())


def sweep_of(run_dir: Path) -> Path | None:
    """Return the directory of the sweep that a run is a trial of."""
    return next((path for path in run_dir.parents if (path / directory.SWEEP).is_file()), None)


def _summarize(sweep: Entry) -> None:
    """Give a sweep the result of its best trial, and the state of them all."""
    trials = sweep.trials
    best = ranked(trials, "monitored")[0]
    sweep.settings, sweep.metrics, sweep.seed = best.settings, dict(best.metrics), best.seed
    sweep.started = min(trial.started for trial in trials)
    if times := [trial.metrics["time/total"] for trial in trials if trial.metrics]:
        sweep.metrics["time/total"] = math.fsum(times)
    states = [trial.state for trial in trials]
    order = (RunState.RUNNING, RunState.INTERRUPTED, RunState.FINISHED)
    sweep.state = next((state for state in order if state in states), states[0])
    sweep.labels = Labels(tuple(dict.fromkeys(t for trial in trials for t in trial.labels.tags)))


def ranked(runs: Iterable[Entry], name: str, reverse: bool = False) -> list[Entry]:
    """Sort by a value: the best metric first, any other value from the smallest; none comes last.

    Args:
        runs: what is sorted.
        name: full name of the value.
        reverse: whether the order is turned round.
    """

    def key(entry: Entry) -> tuple[int, Any]:
        value = entry.value(name)
        if isinstance(value, tuple):
            value = ",".join(value)
        if isinstance(value, int | float):
            if math.isnan(value):
                return 2, 0
            best_first = entry.sign if name in ("monitored", entry.monitor) else _sign(name)
            return 0, -value if (best_first > 0) != reverse else value
        return (2, 0) if value is None else (1, value)

    rows = sorted(runs, key=key)
    if reverse:  # of text; numbers are turned round above
        texts = [entry for entry in rows if key(entry)[0] == 1]
        rows = (
            [e for e in rows if key(e)[0] == 0] + texts[::-1] + [e for e in rows if key(e)[0] > 1]
        )
    return rows


def _sign(name: str) -> int:
    """Return 1 where more of a metric is better."""
    split, _, metric = name.partition("/")
    is_better = split in ("val", "test", "train") and not re.search("loss|error|brier|nll", metric)
    return 1 if is_better else -1


def first_of_each(runs: Iterable[Entry], name: str) -> list[Entry]:
    """Return the first run for each value."""
    rows: dict[Any, Entry] = {}
    for run in runs:
        rows.setdefault(run.value(name), run)
    return list(rows.values())


def full_name(name: str, runs: Sequence[Entry]) -> str:
    """Return the full name of a field, metric or setting, of which the last part is enough.

    Raises:
        ConfigError: no run has it, or several have other names that end so.
    """
    names = _names(runs)
    if name in FIELDS or name in names:
        return name
    fitting = [full for full in names if full.endswith(f".{name}")]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigError(f"{name}: which one? {', '.join(sorted(fitting)[:5])}")
    near = difflib.get_close_matches(name, [*FIELDS, *names, *(n.split(".")[-1] for n in names)], 1)
    hint = f"; did you mean {near[0]}?" if near else f"; {', '.join(FIELDS)}, a metric or a setting"
    raise ConfigError(f"{name}: no run has it{hint}")


def _names(runs: Iterable[Entry]) -> dict[str, None]:
    return dict.fromkeys(name for run in runs for name in (*run.metrics, *run.settings))


def chosen(runs: Sequence[Entry], where: str) -> list[Entry]:
    """Return the runs for which each term of a text holds, such as ``model=cnn val/acc>0.98``.

    Raises:
        ConfigError: a term has no operator, or no run has what it names.
    """
    try:
        terms = shlex.split(re.sub(r"\s*(<=|>=|!=|=|<|>)\s*", r"\1", where))
    except ValueError as error:
        raise ConfigError(f"--where {where}: {error}") from error
    for term in terms:
        match = _TERM.fullmatch(term)
        if match is None:
            raise ConfigError(
                f"--where {term}: must be a name, one of {' '.join(_OPERATORS)}, and a value, such "
                "as val/acc>0.98"
            )
        name = full_name(match[1], runs) if runs else match[1]
        runs = [run for run in runs if _holds(run.value(name), match[2], match[3])]
    return list(runs)


def _holds(value: Any, sign: str, typed: str) -> bool:
    compare = _OPERATORS[sign]
    if isinstance(value, tuple):
        return any(compare(tag, typed) for tag in value) if sign != "!=" else typed not in value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and (number := _number(typed)) is not None:
        return bool(compare(value, number))
    if value is None:
        return bool(compare("null", typed)) if sign in ("=", "!=") else False
    return bool(compare(setting_text(value).lower(), typed.lower()))


def _number(text: str) -> float | None:
    """Return a number, a percentage, or a time in seconds."""
    match = re.fullmatch(r"(.*?)(%|s|min|h|d)?", text, re.DOTALL)
    assert match is not None
    try:
        return float(match[1]) * _UNITS[match[2]] if match[2] else float(text)
    except ValueError:
        return None


def what_differs(runs: Sequence[Entry]) -> list[str]:
    """Return the settings that are not the same in all runs that have them, and ``seed``."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    names = [
        key
        for key in keys
        if not key.endswith("._target_")
        and len(set(map(repr, (run.settings[key] for run in runs if key in run.settings)))) > 1
    ]
    return [*names, *differing({"seed": run.seed} for run in runs if run.settings)]


def differences_text(entry: Entry, names: Sequence[str], headings: Sequence[str]) -> str:
    """Return an entry's values of what differs, as overrides; of a sweep, those of its trials."""
    if not entry.trials:
        values = {heading: entry.value(name) for name, heading in zip(names, headings, strict=True)}
        return " ".join(f"{key}={setting_text(v)}" for key, v in values.items() if v is not None)
    counts = Counter(trial.state for trial in entry.trials)
    parts = [f"{len(entry.trials)} trials:", *(f"{n} {state}," for state, n in counts.items())]
    for name in what_differs(entry.trials):
        varied = [trial.value(name) for trial in entry.trials]
        parts.append(f"{name.rpartition('.')[2]}={_span(varied)}")
    return " ".join(parts).rstrip(",")


def _span(values: Iterable[Any]) -> str:
    distinct = {setting_text(value): value for value in values if value is not None}
    if len(distinct) <= _SHOWN_VALUES:
        return ",".join(distinct)
    if all(isinstance(value, int | float) for value in distinct.values()):
        low, high = min(distinct.values()), max(distinct.values())
        return f"{setting_text(low)}..{setting_text(high)}"
    return f"({len(distinct)} values)"
