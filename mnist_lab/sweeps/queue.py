"""Queue of a sweep's trials: those that an ended process left, then new ones from Optuna."""

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_lab.config.sweep_schema import Settings
from mnist_lab.errors import InputError
from mnist_lab.runs import directory
from mnist_lab.runs.manifest import RunState
from mnist_lab.runs.summary import counted
from mnist_lab.sweeps.algorithms import build_pruner, build_sampler, taking_options
from mnist_lab.sweeps.halving import SynchronousHalving
from mnist_lab.sweeps.notes import Notes
from mnist_lab.sweeps.population import Population
from mnist_lab.sweeps.records import Ledger, Record
from mnist_lab.sweeps.rungs import Rungs
from mnist_lab.sweeps.space import Space
from mnist_lab.sweeps.starts import Starts
from mnist_lab.sweeps.study import Study

_log = logging.getLogger(__name__)
_LOOK = 0.2  # seconds between two looks at what other processes train


@dataclass
class Search:
    """Hands out a sweep's trials; several processes may share them, and none gets another's.

    Trials are suggested in rounds. A suggestion depends on the trial's number and on the results
    before it. So a sweep that was killed while it filled a round first fills the rest, one that was
    killed later first runs the rest, and both then continue as if they had not been killed.

    Args:
        study: the Optuna study.
        ledger: the records.
        settings: of the sweep.
        space: the search space.
        owner: the name of this process.
        home: the sweep's directory; a study may have trials of other directories.
        total: number of trials in the sweep; for a grid all of its points.

    Raises:
        InputError: study and records do not belong together.
    """

    study: Study
    ledger: Ledger
    settings: Settings
    space: Space
    owner: str
    home: str
    total: int

    def __post_init__(self) -> None:
        """Check that study and records belong together."""
        self._distributions = self.space.distributions()
        self._starts = Starts(self.ledger.sweep_dir)
        address = self.study.address
        pruner = build_pruner(address.pruner, address.pruner_options)
        self._rungs: Rungs | None = None
        if isinstance(pruner, SynchronousHalving | Population):
            self._rungs = Rungs(
                pruner, self.study, self.ledger, self.space, self.settings.seed, self.total
            )
        self._retries = self.settings.retry_failed
        self._is_one_in_use = False  # of the trials that this process is to run
        trials = self.study.trials()
        self._grid = _ordered(self.space.grid(), trials) if self.settings.is_grid else None
        for trial in trials:  # each end is recorded before the study is told
            notes = Notes.of(trial)
            is_own = notes.home == self.home and not notes.is_surplus
            if is_own and trial.state.is_finished() and notes.number not in self.ledger:
                raise InputError(
                    f"{self.ledger.sweep_dir}: lacks the record of trial {notes.number}, which its "
                    "study has; put it back, or choose another hydra.sweep.dir"
                )
        records = list(self.ledger)
        self._check_values(trials, records)
        recorded = [record.trial for record in records]
        if recorded and max(recorded) >= len(trials):
            raise InputError(
                f"{self.study.address.storage}: lacks trials of which {self.ledger.sweep_dir} has "
                "records; put it back, or choose another hydra.sweep.dir"
            )

    def _check_values(self, trials: Sequence[FrozenTrial], records: Sequence[Record]) -> None:
        """Check that trials and records have values of the space, and results of the objectives.

        Raises:
            InputError: some have not.
        """
        for trial in trials:
            with _naming(f"{self.study.address.storage}: trial {trial.number}"):
                self.space.check(trial.params)
        count = len(self.study.address.directions)
        for record in records:
            with _naming(self.ledger.path_of(record.number)):
                for params in (record.params, *(phase.params for phase in record.lineage)):
                    self.space.check(params)
                needed = 1 if record.state == RunState.PRUNED else count
                if record.values is not None and len(record.values) != needed:
                    raise InputError(f"values: must have {counted(needed, 'number')}")

    def next_batch(self, size: int) -> list[Record]:
        """Take trials to run; an empty list means that none are left.

        Raises:
            LabError: the directory or the storage cannot be written.
        """
        if self._rungs:
            self._await(self.ledger.is_worked_on)
        while not (batch := self._taken(size)) and self._is_one_in_use:
            self._await(self._is_held)
        return batch

    def _taken(self, size: int) -> list[Record]:
        with self.ledger.locked():
            batch = self._left_over()
            trials = self.study.trials()
            if self._retries:
                batch += self._again(trials)
                self._retries = False
            batch = self._rungs.go_on(batch) if self._rungs else batch[:size]
            first = _round(trials[batch[-1].trial]) if batch else len(trials)
            if not batch or self._grid is not None or _is_open(first, batch, size, trials):
                batch += self._ask(size - len(batch), first, trials)
        self._starts.note(batch)
        return sorted(batch, key=lambda record: record.number)

    def _left_over(self) -> list[Record]:
        """Take over the trials whose process has ended; tell the study the ends it missed."""
        batch = []
        self._is_one_in_use = False
        for trial in self.study.trials():
            notes = Notes.of(trial)
            if trial.state.is_finished() or notes.home != self.home:
                continue
            number = notes.number
            if number not in self.ledger or self.ledger[number].trial < trial.number:
                batch.append(self._record(trial))  # its process was killed before it could
                continue
            record = self.ledger[number]
            if not self._is_free(record):
                self._is_one_in_use |= not record.is_final and self._is_left(record)
                continue  # its own process runs it, or is about to tell the study how it ended
            if record.is_final:
                self.study.settle(record)
            elif failure := self._starts.failure(record):
                self.fail(record, failure)
            else:
                if self._rungs and not self._starts.has_come_on(record):
                    self._rungs.take_up(record)
                record.owner = self.owner
                self.ledger.write(record)
                batch.append(record)
        return batch

    def _await(self, is_used: Callable[[Record], bool]) -> None:
        """Wait for trials that other processes use.

        A process that was killed may have started them. Rungs are decided with all trials.
        """
        is_said = False
        while used := [record for record in self.ledger if is_used(record)]:
            if not is_said:
                trials = counted(len(used), "trial")
                _log.warning("waiting for %s that other processes use", trials)
                is_said = True
            time.sleep(_LOOK)

    def _is_held(self, record: Record) -> bool:
        """Return whether a trial is this process's to run, but for another that uses it."""
        return not record.is_final and self._is_left(record) and self.ledger.is_worked_on(record)

    def _is_free(self, record: Record) -> bool:
        return self._is_left(record) and not self.ledger.is_worked_on(record)

    def _is_left(self, record: Record) -> bool:
        return record.owner == self.owner or not self.ledger.is_alive(record.owner)

    def fail(self, record: Record, error: str) -> None:
        """Record a failure of a trial that did not end by itself."""
        record.state, record.error, record.ended = RunState.FAILED, error, directory.now()
        self.ledger.write(record)
        self.study.settle(record)

    def _again(self, trials: list[FrozenTrial]) -> list[Record]:
        """Retry the trials that have failed, each as a new one in the study."""
        failed = [record for record in self.ledger if record.state == RunState.FAILED]
        return [
            self._create(record.number, trials[record.trial].params, {}, trials)
            for record in failed
        ]

    def _ask(self, count: int, first: int, trials: list[FrozenTrial]) -> list[Record]:
        """Create up to so many new trials, as many as are left."""
        if self.settings.storage is not None:
            records = (self._ask_of_shared(first, trials) for _ in range(count))
            return list(itertools.takewhile(bool, records))  # type: ignore[arg-type]
        taken, new = _numbers(trials), []
        free = (number for number in range(self.total) if number not in taken)
        for number in itertools.islice(free, count):
            trial = self._new(number, *self._values(number, trials), round=first)
            trial.number = len(trials)  # as the study numbers them
            trials.append(trial)
            new.append(trial)
        return [self._record(trial) for trial in (self.study.create(*new) if new else [])]

    def _ask_of_shared(self, first: int, trials: list[FrozenTrial]) -> Record | None:
        """Create a new trial in a study that processes with other directories work on as well."""
        while (number := _first_free(trials)) < self.total:
            record = self._create(number, *self._values(number, trials), trials, round=first)
            trials[:] = self.study.trials()
            if number not in _numbers(trials[: record.trial]):
                return record
            # A process with another directory, and so with another lock, was faster.
            self.study.give_up(record.trial)
            self.ledger.remove(record)
        return None

    def _values(
        self, number: int, trials: Sequence[FrozenTrial]
    ) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """Return the values of a new trial, and the system attributes that the sampler sets."""
        if self._grid is not None:
            return self._grid[number], {}
        sampler = build_sampler(self.settings, number)
        copied = self.study.copy(trials, sampler)
        with taking_options("sampler", type(sampler).__name__):
            suggested = copied.ask(self._distributions)
        return suggested.params, copied.get_trials(deepcopy=False)[-1].system_attrs

    def _create(
        self,
        number: int,
        params: Mapping[str, Any],
        system_attrs: dict[str, Any],
        trials: list[FrozenTrial],
        **attrs: Any,
    ) -> Record:
        """Create a trial in one write, and record it."""
        (trial,) = self.study.create(self._new(number, params, system_attrs, **attrs))
        trials.append(trial)
        return self._record(trial)

    def _new(
        self, number: int, params: Mapping[str, Any], system_attrs: dict[str, Any], **attrs: Any
    ) -> FrozenTrial:
        return create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=self._distributions,
            user_attrs=Notes(self.home, number, **attrs).attrs(),
            system_attrs=system_attrs,
        )

    def _record(self, trial: FrozenTrial) -> Record:
        number = Notes.of(trial).number
        params = {key: str(trial.params[key]) for key in self._distributions}
        record = Record(number, params, trial.number, owner=self.owner)
        if number in self.ledger:  # a failure that is retried
            before = self.ledger[number]
            record.attempts, record.lineage = before.attempts, before.lineage
            record.params = before.params if before.lineage else params
        self.ledger.write(record)
        return record


@contextlib.contextmanager
def _naming(place: object) -> Iterator[None]:
    """Have an error of what is read within name its place."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def _ordered(grid: Sequence[dict[str, str]], trials: Sequence[FrozenTrial]) -> list[dict[str, str]]:
    """Return the points of a grid, those first that have trials, each under its trial's number.

    Where a grid has grown since, they were the points of the smaller one.
    """
    notes = [(Notes.of(trial), trial.params) for trial in trials]
    taken = {note.number: params for note, params in notes if note.number < len(grid)}
    left = iter([point for point in grid if point not in taken.values()])
    return [taken[number] if number in taken else next(left) for number in range(len(grid))]


def _round(trial: FrozenTrial) -> int:
    """Return the number in the study of the first trial of a trial's round."""
    first = Notes.of(trial).round
    return trial.number if first is None else first


def _is_open(first: int, batch: Sequence[Record], size: int, trials: Sequence[FrozenTrial]) -> bool:
    """Return whether a process was killed while it filled a round, before any of it ran."""
    members = [trial.number for trial in trials if Notes.of(trial).round == first]
    return len(members) < size and {*members} <= {record.trial for record in batch}


def _first_free(trials: Sequence[FrozenTrial]) -> int:
    taken = _numbers(trials)
    return next(number for number in itertools.count() if number not in taken)


def _numbers(trials: Sequence[FrozenTrial]) -> set[int]:
    return {Notes.of(trial).number for trial in trials}
