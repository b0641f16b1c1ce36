"""Runs and sweeps below some folders: what each is, its state, and what differs."""

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_lab.report.leaderboard import setting_text
from mnist_lab.report.read_runs import Entry, read_entry, run_directories
from mnist_lab.report.settings import differing
from mnist_lab.runs.exclusive import sweep_of
from mnist_lab.runs.labels import Labels
from mnist_lab.runs.manifest import RunState
from mnist_lab.runs.summary import counted

_SHOWN_VALUES = 4  # of a key that a sweep varies


def entries(places: Iterable[Path]) -> list[Entry]:
    """Read every run in or below some folders, newest first.

    One that cannot be read is an entry as well, with the reason as its error.

    Raises:
        InputError: a place is no directory.
    """
    found = map(read_entry, run_directories(places))
    return sorted(found, key=lambda entry: (-entry.started, str(entry.path)))


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
