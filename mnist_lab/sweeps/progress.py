"""Progress of a sweep: one bar on a terminal, a line for each trial in a file."""

import sys
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mnist_lab.errors import InputError, printable
from mnist_lab.runs.directory import display_path
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.records import Ledger, Record, counts
from mnist_lab.sweeps.results import Leaderboard

_EVERY = 1.0  # seconds between two looks at the ledger, to which any process may write


class Display:
    """Follows a sweep's ledger, and so shows the trials of other processes as well.

    Args:
        ledger: the records.
        total: number of trials in the sweep.
        objectives: metrics that trials are ranked by, each with its mode; the first is shown.
    """

    def __init__(self, ledger: Ledger, total: int, objectives: Mapping[str, str]) -> None:
        self._ledger = ledger
        self._total = total
        self._objectives = objectives
        self._objective = next(iter(objectives))
        self._records: dict[int, Record] = {}
        self._start = time.monotonic()
        self._done_before = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            console=Console(stderr=True, highlight=False, markup=False),
            refresh_per_second=2,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("trials", total=total, state="")

    def __enter__(self) -> Self:
        self._read()
        self._done_before = self._num_done()
        done = f", {self._done_before} of them done already" if self._done_before else ""
        place = printable(display_path(self._ledger.sweep_dir))
        print(f"{place}: {self._total} trials{done}", flush=True)
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._show()
        self._progress.stop()

    def _follow(self) -> None:
        while not self._over.wait(_EVERY):
            self._show()

    def _show(self) -> None:
        ended = self._read()
        self._progress.update(self._task, completed=self._num_done(), state=self.summary())
        if self._progress.disable:
            for record in ended:
                print(f"{printable(self._line(record))}  [{self.summary()}]", flush=True)

    def _read(self) -> list[Record]:
        """Read what may have changed, and return the trials that have ended since."""
        ended = []
        for number in self._ledger.numbers():
            known = self._records.get(number)
            if known is not None and known.is_final and known.state != RunState.FAILED:
                continue  # a failed one may be retried
            try:
                record = self._ledger[number]
            except InputError:  # a person is at work in the directory
                continue
            self._records[number] = record
            if record.is_final and (known is None or known.ended != record.ended):
                ended.append(record)
        return ended

    def _num_done(self) -> int:
        return sum(record.is_final for record in self._records.values())

    def _line(self, record: Record) -> str:
        if record.state == RunState.FAILED:
            return f"{record.name}: failed: {record.error}"
        if record.state == RunState.FINISHED and record.values:
            return f"{record.name}: {self._objective} {record.values[0]:.4f}"
        return f"{record.name}: {record.error or record.state}"

    def summary(self) -> str:
        """Return the number of trials in each state, the best so far, and the time left."""
        number_of = counts(self._records.values())
        parts = [f"{self._num_done()}/{self._total} done"] if self._progress.disable else []
        states = (RunState.RUNNING, RunState.PRUNED, RunState.FAILED)
        parts += [f"{number_of[state]} {state}" for state in states if number_of[state]]
        best = Leaderboard(list(self._records.values()), self._objectives).best_group
        if best is not None and best.values:
            n = len(best.records)
            of = f"trial {best.records[0].number}" if n == 1 else f"mean of {n} seeds"
            parts.append(f"best {self._objective} {best.values[0]:.4f} ({of})")
        if left := self._seconds_left():
            parts.append(f"{timedelta(seconds=round(left))} left")
        return ", ".join(parts)

    def _seconds_left(self) -> float | None:
        """Return the time that the remaining trials will take at the speed so far."""
        done = self._num_done() - self._done_before
        left = self._total - self._num_done()
        if done <= 0 or left <= 0:
            return None
        return (time.monotonic() - self._start) / done * left
