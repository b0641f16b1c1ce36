"""One record a trial: what it is, what became of it, and whose it is."""

import contextlib
import json
import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mnist_lab.errors import BusyError, InputError, StorageError, first_line, reason
from mnist_lab.runs import directory as runs
from mnist_lab.runs.directory import display_path

FOLDER = "ledger"
RUNNING, FINISHED, PRUNED, FAILED = "running", "finished", "pruned", "failed"
INTERRUPTED = "interrupted"
FINAL = (FINISHED, PRUNED, FAILED)
_PATIENCE = 120.0  # seconds for another process to take or give back trials


@dataclass
class Record:
    """One trial.

    Args:
        number: its place in the sweep, from 0.
        params: the keys that the sweep varies, and the trial's value of each, as overrides.
        trial: its number in the study; another one after a failure that was retried.
        state: running, interrupted, finished, pruned or failed.
        directory: the run's, from the sweep's on; None before it has started.
        values: what it is ranked by, the monitored value first.
        metrics: the run's.
        error: why it was pruned or has failed.
        report: what the study is still to be told of a pruned trial: its last epoch, the value
            after it, and what the pruner notes.
        owner: the process that it belongs to.
        attempts: how often it was started.
        started: time of the last start.
        ended: time of its end.
    """

    number: int
    params: dict[str, str]
    trial: int
    state: str = RUNNING
    directory: str | None = None
    values: list[float] | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    error: str | None = None
    report: dict[str, Any] | None = None
    owner: str = ""
    attempts: int = 0
    started: str | None = None
    ended: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in FINAL

    @property
    def name(self) -> str:
        """The trial as a line about it names it."""
        values = " ".join(f"{key}={short(value)}" for key, value in self.params.items())
        return f"trial {self.number} ({values})"


class Ledger:
    """The records of a sweep, a file each.

    Args:
        folder: the sweep's directory.
    """

    def __init__(self, folder: Path) -> None:
        self.sweep_dir = folder
        self._folder = folder / FOLDER

    def __getitem__(self, number: int) -> Record:
        """Return a trial's record.

        Raises:
            InputError: it is missing or damaged.
        """
        path = self._path(number)
        try:
            return Record(**runs.read_json(path))
        except TypeError as error:
            raise InputError(f"{path}: not a trial's record: {first_line(error)}") from error

    def __contains__(self, number: int) -> bool:
        return self._path(number).exists()

    def __iter__(self) -> Iterator[Record]:
        """Yield all records by number."""
        return (self[number] for number in self.numbers())

    def numbers(self) -> list[int]:
        """Return the numbers of all trials that have a record."""
        return sorted(int(path.stem) for path in self._folder.glob("[0-9]*.json"))

    def write(self, record: Record) -> None:
        """Write a record whole or not at all; the trial's owner does.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self._folder}: cannot be written: {reason(error)}") from error
        text = json.dumps(asdict(record), indent=2, allow_nan=False, default=str)
        runs.write(self._path(record.number), text + "\n")

    def remove(self, record: Record) -> None:
        """Drop the record of a trial that has not started."""
        self._path(record.number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05}.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from taking trials of this sweep.

        Raises:
            BusyError: another process has kept them for too long.
            StorageError: the directory cannot be written.
        """
        with _held(self._folder / runs.LOCK, _PATIENCE, self.sweep_dir):
            yield

    def drop_empty(self) -> None:
        """Leave no directory behind in which there is nothing but a lock."""
        with contextlib.suppress(OSError):
            if [*self.sweep_dir.iterdir()] == [self._folder]:
                (self._folder / runs.LOCK).unlink(missing_ok=True)
                self._folder.rmdir()  # unless there is more in it
                self.sweep_dir.rmdir()

    def check_free(self) -> None:
        """Check that no process holds the directory for itself, as that of a single run does.

        Raises:
            BusyError: one does.
        """
        path = self.sweep_dir / runs.LOCK
        if path.exists():
            with _held(path, 0, self.sweep_dir):
                pass

    @contextlib.contextmanager
    def owner(self) -> Iterator[str]:
        """Hold a lock for as long as this process works on trials, and give its name.

        The system drops it with the process, however that ends.
        """
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        path = self._owner_path(name)
        with _held(path, 0, self.sweep_dir):
            try:
                yield name
            finally:
                path.unlink(missing_ok=True)

    def is_alive(self, owner: str) -> bool:
        """Return whether the process that a trial belongs to is still there."""
        path = self._owner_path(owner)
        if not owner or not path.exists() or is_held(path):
            return bool(owner) and path.exists()
        path.unlink(missing_ok=True)
        return False

    def is_worked_on(self, record: Record) -> bool:
        """Return whether a process, of whichever owner, holds the trial's run directory."""
        if record.directory is None:
            return False
        path = self.sweep_dir / record.directory / runs.LOCK
        return path.exists() and is_held(path)

    def _owner_path(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"


def short(value: str) -> str:
    """Return a fraction with four digits at most, any other text as it is."""
    try:
        return value if len(value) <= 6 or value.isdecimal() else f"{float(value):.4g}"
    except ValueError:
        return value


def counts(records: Iterable[Record]) -> dict[str, int]:
    """Return how many trials are in each state."""
    found = dict.fromkeys((FINISHED, RUNNING, PRUNED, FAILED, INTERRUPTED), 0)
    for record in records:
        found[record.state] += 1
    return found


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock file."""
    try:
        with _held(path, 0, path.parent):
            return False
    except BusyError:
        return True


@contextlib.contextmanager
def _held(path: Path, patience: float, place: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=patience)
        lock.acquire()
    except Timeout:
        raise BusyError(
            f"{display_path(place)}: another process is using this directory; wait for it or "
            "stop it"
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter: no locks in this file system
        raise StorageError(f"{display_path(place)}: cannot be written: {reason(error)}") from error
    try:
        yield
    finally:
        lock.release()
