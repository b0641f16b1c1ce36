"""How often a process has started a sweep's trials without their coming on, until they fail."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mnist_lab.errors import InputError
from mnist_lab.runs.manifest import RunState, read_manifest
from mnist_lab.sweeps.records import Record

_DEATHS = 2  # of a trial from the same step whose process dies each time, until it has failed
_INTERRUPTIONS = 10  # of a trial at the same step, by signals, until it has failed
_Place = tuple[int, int, str]  # a trial, waiting after an epoch, from a step


class Starts:
    """The trials that a process has handed out, and how each start ended.

    Args:
        sweep_dir: the sweep's directory.
    """

    def __init__(self, sweep_dir: Path) -> None:
        self._sweep_dir = sweep_dir
        self._given: dict[int, Record] = {}  # by number, as they were handed out
        self._deaths = Counter[_Place]()
        self._interrupted: dict[_Place, set[int]] = {}  # starts that a signal ended

    def note(self, batch: Iterable[Record]) -> None:
        """Note that trials are handed out."""
        self._given |= {record.number: record for record in batch}

    def has_come_on(self, record: Record) -> bool:
        """Return whether this process has started a trial that has reported an epoch since."""
        given = self._given.get(record.number)
        return given is not None and record.epochs > given.epochs

    def failure(self, record: Record) -> str | None:
        """Note that a trial has not ended, and return why it fails where that was once too often.

        A start does not count after which the trial is resumed at a later step. A signal that ended
        it with a save, as SLURM's before its time limit, may do so more often.
        """
        given = self._given.get(record.number)
        if given is None:
            return None
        step = self._last_start(record)
        place = record.number, record.epochs, step
        if record.state == RunState.INTERRUPTED and record.attempts > given.attempts:
            starts = self._interrupted.setdefault(place, set())
            starts.add(record.attempts)  # one that waits at a rung is seen again and again
            if len(starts) < _INTERRUPTIONS:
                return None
            return f"was interrupted {_INTERRUPTIONS} times at step {step or 0}, without progress"
        self._deaths[place] += 1
        if self._deaths[place] < _DEATHS:
            return None
        return f"its process ended without an error, {_DEATHS} times"

    def _last_start(self, record: Record) -> str:
        """Return the step that a trial was last resumed at; empty if its run has not begun."""
        run_dir = self._sweep_dir / (record.directory or "")
        try:
            return str(read_manifest(run_dir)["attempts"][-1]["from_step"])
        except (LookupError, InputError):
            return ""
