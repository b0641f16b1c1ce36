"""Records of a sweep's trials: parameters, state, result and owner, a JSON file each."""

import contextlib
import json
import math
import os
import re
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any

from mnist_lab.config.knob import shown
from mnist_lab.errors import BusyError, InputError, StorageError, first_line
from mnist_lab.files.atomic import remove_partials
from mnist_lab.files.regular import check_links
from mnist_lab.runs import directory as runs
from mnist_lab.runs.directory import hold, is_held
from mnist_lab.runs.exclusive import check_unused
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.inheritance import Phase

_FINAL = (RunState.FINISHED, RunState.PRUNED, RunState.FAILED)
_DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_MAX_COUNT = 2**31 - 1  # of a database's column
_MAX_NUMBER = 1e300  # so that sums of them are finite
_MAX_NAME = 255  # bytes of a file's name
_PATIENCE = 120.0  # seconds for another process to take or give back trials


@dataclass(frozen=True)
class Report:
    """The last epoch of a trial that is pruned, or waits for others.

    Args:
        epoch: from 0.
        value: the monitored metric after it.
        attrs: system attributes that the pruner set.
    """

    epoch: int
    value: float
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Record:
    """One trial.

    Args:
        number: its place in the sweep, from 0.
        params: the keys that the sweep varies, and the trial's value of each, as overrides.
        trial: its number in the study; another one after a failure that was retried.
        state: its state.
        directory: the run's, relative to the sweep's; None before it has started.
        values: of the objectives, the monitored metric first.
        metrics: the run's.
        error: why it was pruned or has failed.
        report: of a pruned trial its last epoch, of one that waits for others that epoch.
        owner: the process that it belongs to.
        attempts: number of starts.
        started: time of the last start.
        ended: time of its end.
        lineage: the phases of its weights, where it has copied those of another trial.
    """

    number: int
    params: dict[str, str]
    trial: int
    state: RunState = RunState.RUNNING
    directory: str | None = None
    values: list[float] | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    error: str | None = None
    report: Report | None = None
    owner: str = ""
    attempts: int = 0
    started: str | None = None
    ended: str | None = None
    lineage: list[Phase] = field(default_factory=list)

    @property
    def is_final(self) -> bool:
        """Whether the trial has ended for good."""
        return self.state in _FINAL

    @property
    def epochs(self) -> int:
        """The epochs after which it waits or was pruned; 0 where it does not and was not."""
        return self.report.epoch + 1 if self.report else 0

    @property
    def name(self) -> str:
        """The trial's number and parameters, for messages."""
        values = " ".join(f"{key}={short(value)}" for key, value in self.params.items())
        return f"trial {self.number} ({values})"


class Ledger:
    """The records of the sweep in a directory, a file each."""

    def __init__(self, folder: Path) -> None:
        self.sweep_dir = folder
        self._folder = folder / runs.LEDGER

    def __getitem__(self, number: int) -> Record:
        """Return a trial's record.

        Raises:
            InputError: it is missing or corrupt.
        """
        path = self.path_of(number)
        content = {"lineage": [], **runs.read_json(path)}  # which those of earlier versions lack
        try:
            for name, is_right in _CHECKS.items():
                if not is_right(content[name]):
                    raise ValueError(f"{name}: must not be {shown(content[name])}")
            if content["number"] != number:
                raise ValueError(f"number: must be {number}")
            report = content["report"]
            content["report"] = None if report is None else Report(**report)
            content["lineage"] = [Phase(**phase) for phase in content["lineage"]]
            return Record(**content | {"state": RunState(content["state"])})
        except _DAMAGE as error:
            raise InputError(f"{path}: not a trial's record: {first_line(error)}") from error

    def __contains__(self, number: int) -> bool:
        return self.path_of(number).exists()

    def __iter__(self) -> Iterator[Record]:
        """Yield all records by number."""
        return (self[number] for number in self.numbers())

    def numbers(self) -> list[int]:
        """Return the numbers of all trials that have a record."""
        names = (path.stem for path in self._folder.glob("[0-9]*.json"))
        return sorted(int(name) for name in names if name.isdecimal())

    def versions(self) -> dict[int, object]:
        """Return by number what is another object once a record is written anew."""
        versions: dict[int, object] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                name, _, kind = entry.name.partition(".")
                if kind == "json" and name.isdecimal():
                    status = entry.stat(follow_symlinks=False)
                    versions[int(name)] = status.st_ino, status.st_mtime_ns
        return versions

    def write(self, record: Record) -> None:
        """Write a record atomically; the trial's owner does.

        Raises:
            StorageError: it cannot be written.
        """
        text = json.dumps(asdict(record), indent=2, allow_nan=False, default=str)
        runs.write(self.path_of(record.number), text + "\n", self.sweep_dir)

    def remove(self, record: Record) -> None:
        """Remove the record of a trial that has not started."""
        self.path_of(record.number).unlink(missing_ok=True)

    def path_of(self, number: int) -> Path:
        """Return the file of a trial's record."""
        return self._folder / f"{number:05}.json"

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from taking trials of this sweep.

        Raises:
            BusyError: another process held the lock for more than two minutes.
            StorageError: the directory cannot be written.
        """
        return hold(self._folder / runs.LOCK, self.sweep_dir, _PATIENCE)

    def drop_empty(self) -> None:
        """Remove the directory if it contains nothing but a lock."""
        with contextlib.suppress(OSError):
            if [*self.sweep_dir.iterdir()] == [self._folder]:
                (self._folder / runs.LOCK).unlink(missing_ok=True)
                self._folder.rmdir()  # unless there is more in it
                self.sweep_dir.rmdir()

    def check_free(self) -> None:
        """Check that no single run is using the directory, and no link leads out of it.

        Raises:
            BusyError: one does.
            UntrustedError: there is such a link.
        """
        check_links(self.sweep_dir)
        path = self.sweep_dir / runs.LOCK
        if path.exists():
            with hold(path, self.sweep_dir):
                pass

    def check_storage(self, numbers: Iterable[int]) -> None:
        """Check that the storage has ended none of some trials, in whichever process they ran.

        Raises:
            StorageError: it has; the trial is resumed when the sweep is.
        """
        for record in (self[number] for number in numbers):
            if record.state == RunState.INTERRUPTED and record.error:
                raise StorageError(record.error)

    def remove_partials(self) -> None:
        """Remove what killed writers have left, if nobody else works here; the caller locks it."""
        if any(self._folder.glob(".*.partial")) and not any(map(self.is_worked_on, self)):
            with contextlib.suppress(BusyError):
                check_unused(self.sweep_dir)
                remove_partials(self._folder, self.sweep_dir)

    @contextlib.contextmanager
    def owner(self) -> Iterator[str]:
        """Hold a lock while this process works on trials, and yield the process's name.

        The system releases it with the process, however that ends.
        """
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        path = self._owner_path(name)
        with hold(path, self.sweep_dir):
            try:
                yield name
            finally:
                path.unlink(missing_ok=True)

    def is_alive(self, owner: str) -> bool:
        """Return whether the process that a trial belongs to is still running."""
        path = self._owner_path(owner)
        if owner and is_held(path):
            return True
        if owner:
            path.unlink(missing_ok=True)
        return False

    def is_worked_on(self, record: Record) -> bool:
        """Return whether any process holds the trial's run directory."""
        if record.directory is None:
            return False
        return is_held(self.sweep_dir / record.directory / runs.LOCK)

    def _owner_path(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_COUNT


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _MAX_NUMBER  # which NaN is not


def _is_text(value: Any) -> bool:
    return isinstance(value, str | None)


def _is_inside(value: Any) -> bool:
    """Return whether a path, if any, may be of a folder below the one that it is relative to."""
    if value is None:
        return True
    path = PurePath(value)
    is_short = all(len(os.fsencode(part)) <= _MAX_NAME for part in path.parts)
    is_below = path.parts and not path.is_absolute() and ".." not in path.parts
    return bool(is_below and is_short and "\0" not in value)


def _is_owner(value: Any) -> bool:
    """Return whether a text may be the name of a process, and its lock that of a file."""
    is_name = re.fullmatch(r"[\w.-]*", value) is not None
    return is_name and len(f"{value}.lock".encode()) <= _MAX_NAME


def _is_report(value: Any) -> bool:
    return (
        _is_count(value["epoch"])
        and _is_number(value["value"])
        and isinstance(value["attrs"], dict)
    )


def _are_params(value: Any) -> bool:
    return all(isinstance(text, str) for text in value.values())


def _is_phase(value: Any) -> bool:
    is_count = _is_count(value["epoch"]) and _is_count(value["trial"])
    are_numbers = all(math.isfinite(float(text)) for text in value["params"].values())
    return is_count and are_numbers and _are_params(value["params"])


_CHECKS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("number", "trial", "attempts"), _is_count),
    **dict.fromkeys(("error", "started", "ended"), _is_text),
    "params": _are_params,
    "lineage": lambda value: isinstance(value, list) and all(map(_is_phase, value)),
    "state": lambda value: value in list(RunState),
    "directory": _is_inside,
    "values": lambda value: value is None or (bool(value) and all(map(_is_number, value))),
    "metrics": lambda value: all(item is None or _is_number(item) for item in value.values()),
    "report": lambda value: value is None or _is_report(value),
    "owner": _is_owner,
}


def short(value: str) -> str:
    """Return a number with four significant digits at most, any other text unchanged."""
    try:
        return value if len(value) <= 6 or value.isdecimal() else f"{float(value):.4g}"
    except ValueError:
        return value


def ranked(waiting: Iterable[Record], sign: int) -> list[Record]:
    """Return trials that wait, the best first; the sign is 1 where a higher value is better."""

    def rank(record: Record) -> tuple[float, int]:
        assert record.report is not None
        return -sign * record.report.value, record.number

    return sorted(waiting, key=rank)


def counts(records: Iterable[Record]) -> Counter[RunState]:
    """Return how many trials are in each state."""
    return Counter(record.state for record in records)
