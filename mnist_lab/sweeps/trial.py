"""A trial while it runs: reports of its epochs, and records of how it ends."""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_lab.config.sweep_schema import WITH_RUNGS
from mnist_lab.errors import (
    BusyError,
    Diverged,
    LabError,
    Paused,
    Pruned,
    StorageError,
    first_line,
)
from mnist_lab.runs import directory
from mnist_lab.runs.logs import files_logged_to
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.records import Ledger, Record, Report
from mnist_lab.training.observer import observed_by

if TYPE_CHECKING:
    import lightning as L

    from mnist_lab.sweeps.study import Address, Study

_log = logging.getLogger(__name__)
_PATIENCE = 60.0  # seconds to wait for another command that holds a trial's directory
_LOOK = 0.2  # seconds between two tries to get it
_SIGNALLED = range(129, 160)  # exit codes of a process that a signal has ended


@dataclass(frozen=True)
class Sweep:
    """A sweep as its trials know it, in whichever process they run.

    Args:
        folder: the sweep's directory.
        address: the study's.
        objectives: metrics that trials are ranked by, the monitored one first.
    """

    folder: Path
    address: "Address"
    objectives: tuple[str, ...]


class Trial:
    """One trial while it runs. Each end is recorded before Optuna is told."""

    def __init__(self, sweep: Sweep, study: "Study", record: Record) -> None:
        self.record = record
        self._sweep = sweep
        self._study = study
        self._ledger = Ledger(sweep.folder)
        self._report: Report | None = None
        self._has_started = False

    def start(self, run_dir: Path) -> None:
        """Record that it runs, and its directory."""
        self.record.directory = os.path.relpath(run_dir, self._sweep.folder)
        self.record.state, self.record.attempts = RunState.RUNNING, self.record.attempts + 1
        self.record.error, self.record.started = None, directory.now()
        self._ledger.write(self.record)
        self._has_started = True

    def callbacks(self, monitor: str) -> "list[L.Callback]":
        """Return the callback that reports the monitored metric after each epoch."""
        from mnist_lab.sweeps.epoch_reporter import EpochReporter  # torch takes seconds to import

        return [EpochReporter(self, monitor)]

    def report(self, epoch: int, value: float, is_last: bool = False) -> bool:
        """Report the monitored metric after an epoch, and return whether the trial should end."""
        if self._study.address.pruner == "none":
            return False
        self._report = self._study.prunes(self.record.trial, epoch, value, may_end=not is_last)
        return self._report is not None

    def check_finite(self, metrics: Mapping[str, float], epoch: int | None = None) -> None:
        """Check that no loss has become NaN or infinite.

        Raises:
            Diverged: one has.
        """
        for name, value in metrics.items():
            if name.endswith("/loss") and not math.isfinite(value):
                place = "" if epoch is None else f" after epoch {epoch + 1}"
                raise Diverged(f"diverged: {name} is {value}{place}")

    def end_epoch(
        self, metrics: Mapping[str, float], epoch: int, monitor: str, is_last: bool = False
    ) -> None:
        """Check and report an epoch, as ``Observer`` describes.

        Raises:
            Diverged: a loss is NaN or infinite.
            Pruned: the trial should end early.
            Paused: it has to wait until others are as far.
        """
        self.check_finite(metrics, epoch)
        if monitor in metrics and not is_last and self._is_at_rung(epoch):
            self._report = Report(epoch, metrics[monitor])
            raise Paused(f"waits after epoch {epoch + 1}")
        if monitor in metrics and self.report(epoch, metrics[monitor], is_last):
            raise Pruned(self.reason)

    def _is_at_rung(self, epoch: int) -> bool:
        """Return whether the trial has to wait for the others after an epoch."""
        address = self._study.address
        if address.pruner not in WITH_RUNGS:
            return False
        from mnist_lab.sweeps.algorithms import build_pruner  # Optuna takes 0.15 s to import

        rungs: Any = build_pruner(address.pruner, address.pruner_options)
        return bool(epoch + 1 >= rungs.next_rung(self.record.epochs, self.record.number))

    def ended_early(self, error: Diverged | Paused | Pruned) -> None:
        """Record the end that ``end_epoch`` has raised."""
        if isinstance(error, Diverged):
            self.failed(error)
            return
        assert self._report is not None
        self.record.report = self._report
        if isinstance(error, Paused):
            self.interrupted()
        else:
            self._end(RunState.PRUNED, self.reason, [self._report.value])

    def finished(self, metrics: Mapping[str, float]) -> None:
        """Record the result of a run; a run that has diverged is recorded as failed."""
        self.record.metrics = directory.finite(metrics)
        try:
            self.check_finite(metrics)
        except Diverged as error:
            self.failed(error)
            return
        values = [self.record.metrics.get(name) for name in self._sweep.objectives]
        known = [value for value in values if value is not None]
        self._end(RunState.FINISHED, None, known if len(known) == len(values) else None)

    @property
    def reason(self) -> str:
        """Why it ends early."""
        assert self._report is not None
        metric = f"{self._sweep.objectives[0]}={self._report.value:.4g}"
        return f"pruned after epoch {self._report.epoch + 1} with {metric}"

    def failed(self, error: Exception) -> None:
        """Record that it has failed, and why."""
        if not isinstance(error, LabError):
            _log_traceback(f"{self.record.name}: {first_line(error)}", error)
        name = "" if isinstance(error, Diverged) else f"{type(error).__name__}: "
        self._end(RunState.FAILED, f"{name}{first_line(error)}", None)

    def interrupted(self, error: str | None = None) -> None:
        """Record that a signal or the storage ended it; it is resumed when the sweep is."""
        self.record.state, self.record.ended = RunState.INTERRUPTED, directory.now()
        self.record.error = error
        self._ledger.write(self.record)

    def _end(self, state: RunState, error: str | None, values: list[float] | None) -> None:
        self.record.state, self.record.error = state, error
        self.record.values, self.record.ended = values, directory.now()
        self._ledger.write(self.record)
        self._study.settle(self.record)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Make this trial the observer of the run within, and record any failure.

        An error of a stack after one of its trials has ended is not that trial's, nor is that it
        could not start beside another command.

        Raises:
            Exception: what the run raised.
        """
        try:
            with observed_by(self):
                yield
        except (Paused, Pruned) as early:
            self.ended_early(early)
            raise
        except Exception as error:
            is_left = isinstance(error, BusyError) and not self._has_started
            if not self.record.is_final and not is_left:
                self._ended_by(error)
            raise
        except SystemExit as error:
            if error.code in _SIGNALLED:
                if not self.record.is_final:
                    self.interrupted()
                raise
            failure = RuntimeError(f"the run ended its process with exit code {error.code}")
            self.failed(failure)
            raise failure from error
        except BaseException:
            if not self.record.is_final:
                self.interrupted()
            raise

    def _ended_by(self, error: Exception) -> None:
        if isinstance(error, StorageError):
            self.interrupted(str(error))
        else:
            self.failed(error)


def _log_traceback(text: str, error: Exception) -> None:
    """Log an error to the run's own file; the sweep's display has a line of it."""
    files = files_logged_to()
    if not files:
        _log.error(text, exc_info=error)
    raised = (type(error), error, error.__traceback__)
    record = _log.makeRecord(_log.name, logging.ERROR, __file__, 0, text, (), raised)
    for file in files:
        file.handle(record)


class TrialTask:
    """The function that Hydra calls for each trial, in whichever process a launcher runs it.

    Args:
        task: trains a config.
        sweep: the sweep of the trials.
        study: the study, for launchers that stay in this process; it is not pickled.
        owner: the process whose trials it runs; None runs those of any.
    """

    def __init__(
        self,
        task: Callable[[DictConfig], Any],
        sweep: Sweep,
        study: "Study | None" = None,
        owner: str | None = None,
    ) -> None:
        self.task = task
        self.sweep = sweep
        self.owner = owner
        self.stopped_by: StorageError | None = None  # which other trials would meet as well
        self._study = study

    @property
    def study(self) -> "Study":
        """The sweep's study, which each process opens once."""
        if self._study is None:
            from mnist_lab.sweeps.study import Study

            self._study = Study(self.sweep.address)
        return self._study

    @contextlib.contextmanager
    def opened(self, number: int, run_dir: Path) -> Iterator[Trial]:
        """Start a trial, hold its run's directory, and record its end.

        Whoever looks which trials are worked on, under the same lock, sees this one held or, where
        the process that started this one was killed, has taken it over before.

        Raises:
            BusyError: another process has taken the trial over, or holds the directory; the trial
                is left as it is.
            StorageError: something cannot be written, now or in a trial before; the trial is to be
                resumed.
            Exception: what the run raised.
        """
        if self.stopped_by is not None:
            raise self.stopped_by
        self._await_others(run_dir)
        try:
            with contextlib.ExitStack() as stack:
                yield self._started(number, run_dir, stack)
        except StorageError as error:
            self.stopped_by = error
            raise

    @staticmethod
    def _await_others(run_dir: Path) -> None:
        """Wait for a command that holds a directory for a moment, as ``mnist-lab runs tag``."""
        lock, limit = run_dir / directory.LOCK, time.monotonic() + _PATIENCE
        while directory.is_held(lock) and time.monotonic() < limit:
            time.sleep(_LOOK)

    def _started(self, number: int, run_dir: Path, stack: contextlib.ExitStack) -> Trial:
        """Start a trial, and hold its directory until ``stack`` ends, which records its end."""
        ledger = Ledger(self.sweep.folder)
        with ledger.locked():
            trial = Trial(self.sweep, self.study, ledger[number])
            if self.owner not in (None, trial.record.owner):
                raise BusyError(f"{trial.record.name}: another process has taken it over")
            stack.enter_context(trial.recorded())
            stack.enter_context(directory.claimed(run_dir))
            trial.start(run_dir)
        return trial

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the open study."""
        return self.__dict__ | {"_study": None}

    def __call__(self, config: DictConfig) -> Any:
        """Run a trial and record its end.

        Raises:
            Exception: what the run raised.
        """
        hydra = HydraConfig.get()
        run_dir = Path(hydra.runtime.output_dir)
        with self.opened(int(hydra.job.num), run_dir) as trial:
            value = self.task(config)
            path = run_dir / directory.METRICS
            metrics = directory.read_json(path) if path.exists() else {}
            trial.finished(
                {name: math.nan if value is None else value for name, value in metrics.items()}
            )
        return value
