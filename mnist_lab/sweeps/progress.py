"""Progress of a sweep: one bar on a terminal, a line for each trial in a file."""

import contextlib
import sys
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mnist_lab.errors import InputError, printable
from mnist_lab.runs.directory import PROGRESS, display_path
from mnist_lab.runs.manifest import RunState
from mnist_lab.runs.progress import Beat, epoch_text, read_beat
from mnist_lab.runs.summary import counted
from mnist_lab.sweeps.records import Ledger, Record, counts
from mnist_lab.sweeps.results import TrialTable

_EVERY = 1.0  # seconds between two looks at the ledger, to which any process may write


class Display:
    """Follows a sweep's ledger, and so shows the trials of other processes as well.

    Trials that train as a stack show by what the stack writes into the sweep's ``progress.json``.

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
        self._versions: dict[int, object] = {}  # of the records that were read
        self._start = time.monotonic()
        self._began = time.time()
        self._done_before = 0
        self._stack: Beat | None = None
        self._epoch = 0  # of the stack, whose line was printed
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
        print(f"{place}: {counted(self._total, 'trial')}{done}", flush=True)
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
        self._read_stack()
        self._progress.update(self._task, completed=self._num_done(), state=self.summary())
        if self._progress.disable:
            state = f"[{self.summary()}]" if ended else ""
            for record in ended:
                print(f"{printable(self._line(record))}  {state}", flush=True)
            if self._stack is not None and self._stack.epoch != self._epoch:
                trials = counted(self._stack.trials or 0, "stacked trial")
                print(f"{trials}  [{self.summary()}]", flush=True)
        self._epoch = self._stack.epoch if self._stack is not None else 0

    def _read_stack(self) -> None:
        """Read how far the stack is that trains, if one does; a killed process may leave a file."""
        folder, beat = self._ledger.sweep_dir, None
        with contextlib.suppress(OSError):
            if (folder / PROGRESS).stat().st_mtime >= self._began:
                beat = read_beat(folder)
        self._stack = beat if beat is not None and beat.trials else None

    def _read(self) -> list[Record]:
        """Read what may have changed, and return the trials that have ended since."""
        ended, before = [], self._versions
        self._versions = self._ledger.versions()
        for number, version in sorted(self._versions.items()):
            if version == before.get(number):
                continue
            known = self._records.get(number)
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
        if self._stack is not None:
            parts.append(f"epoch {epoch_text(self._stack.epoch, self._stack.max_epochs)}")
        if best := self._best():
            parts.append(f"best {self._objective} {best}")
        if left := self._seconds_left():
            parts.append(f"{timedelta(seconds=round(left))} left")
        return ", ".join(parts)

    def _best(self) -> str:
        """Return the best value of the trials that have ended, or so far of the stack."""
        best = TrialTable(list(self._records.values()), self._objectives).best_group
        metrics = self._stack.metrics if self._stack is not None else {}
        so_far = metrics.get(f"best/{self._objective}")
        if best is None or not best.values:
            return "" if so_far is None else f"{so_far:.4f}"
        is_less = self._objectives[self._objective] == "min"
        if so_far is not None and (so_far < best.values[0]) == is_less:
            return f"{so_far:.4f}"
        n = best.count
        of = f"trial {best.measured[0].number}" if n == 1 else f"mean of {n} seeds"
        return f"{best.values[0]:.4f} ({of})"

    def _seconds_left(self) -> float | None:
        """Return the time that the remaining trials will take at the speed so far."""
        left = self._total - self._num_done()
        stack = self._stack
        if stack is None:
            done = self._num_done() - self._done_before
            if done <= 0 or left <= 0:
                return None
            return (time.monotonic() - self._start) / done * left
        if stack.seconds_left is None or not stack.trials:
            return None
        others = max(left - stack.trials, 0)  # of the stacks that come after this one
        share = (stack.epoch - 1 + stack.share) / (stack.max_epochs or 1)
        of_one = stack.seconds_left / (1 - share) if share < 1 else 0.0
        return stack.seconds_left + of_one * others / stack.trials
