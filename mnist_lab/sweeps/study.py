"""Asks an Optuna study for the next trials, and tells it their results and prunings."""

import contextlib
import copy
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from mnist_lab.config.hydra_internals import one_transaction
from mnist_lab.errors import InputError
from mnist_lab.files.atomic import write_errors
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.algorithms import Direction, build_pruner, taking_options
from mnist_lab.sweeps.notes import Notes, record_of
from mnist_lab.sweeps.records import Record, Report
from mnist_lab.sweeps.storage import DATABASE, lost, one_line_errors, open_storage, url_of

optuna.logging.set_verbosity(optuna.logging.ERROR)  # the display has a line for each trial
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Address:
    """The location of a study, by which any process opens it.

    Args:
        storage: a database URL of Optuna's, or the path of a journal.
        name: the study's name there.
        directions: ``maximize`` or ``minimize`` for each objective.
        pruner: the pruner's name.
        pruner_options: arguments of Optuna's class.
    """

    storage: str
    name: str
    directions: tuple[Direction, ...]
    pruner: str = "none"
    pruner_options: Mapping[str, Any] = field(default_factory=dict)


def _in_one_line(
    method: "Callable[Concatenate[Study, _P], _R]",
) -> "Callable[Concatenate[Study, _P], _R]":
    """Have a method of a study raise a StorageError where its storage is lost."""

    @functools.wraps(method)
    def wrapped(study: "Study", /, *arguments: _P.args, **options: _P.kwargs) -> _R:
        with lost(study.address.storage):
            return method(study, *arguments, **options)

    return wrapped


class Study:
    """An Optuna study that any process may open.

    A process may be killed at any time, and what follows depends on the trials alone and not on
    when that was. So Optuna samples and prunes on a copy of the study in memory, and the decision
    is written afterwards, in writes that may be repeated.

    Raises:
        ConfigError: there is no such storage.
        InputError: it is a file of another kind.
        StorageError: the storage cannot be opened; of each method that it cannot be used any more.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._unsettled: list[Record] | None = None  # that are written together
        with contextlib.ExitStack() as stack, one_line_errors(address.storage):
            self.storage = open_storage(address.storage)
            stack.callback(self.close)
            self.optuna = optuna.create_study(
                storage=self.storage,
                study_name=address.name,
                directions=list(address.directions),
                sampler=RandomSampler(),  # never asked
                load_if_exists=True,
            )
            self._id = self.storage.get_study_id_from_name(address.name)
            self.trials()  # so that all is read that there is
            stack.pop_all()

    def check(self) -> None:
        """Check that the trials are those of a sweep, and ranked as this one's are.

        Raises:
            InputError: they are not.
        """
        for trial in self.trials():
            try:
                Notes.of(trial)
            except InputError as error:
                raise InputError(f"{self.address.storage}: {error}") from error
        directions = tuple(direction.name.lower() for direction in self.optuna.directions)
        if directions != self.address.directions:
            raise InputError(
                f"{self.address.storage}: {', '.join(directions)}: must be "
                f"{', '.join(self.address.directions)}"
            )

    def close(self) -> None:
        """Close the connections."""
        if isinstance(self.storage, RDBStorage):
            self.storage.remove_session()
            self.storage.engine.dispose()

    @property
    @_in_one_line
    def identity(self) -> dict[str, Any] | None:
        """The identity of the study's sweep; None where no sweep has set it.

        Raises:
            InputError: it is none that mnist_lab wrote.
        """
        stored = self.optuna.user_attrs.get("plan")
        if not isinstance(stored, dict | None):
            raise InputError(f"{self.address.storage}: its plan is none that mnist_lab wrote")
        return stored

    @_in_one_line
    def set_identity(self, identity: Mapping[str, Any]) -> None:
        """Store the identity of the study's sweep."""
        self.optuna.set_user_attr("plan", dict(identity))

    @_in_one_line
    def widened(
        self,
        folder: Path,
        distributions: Mapping[str, BaseDistribution],
        identity: Mapping[str, Any],
    ) -> "Study":
        """Replace the database in a sweep's directory by one with wider distributions.

        Optuna takes no other choices of a key that has trials. The new database gets its name when
        it is whole. This study is closed.
        """
        path = folder / f".{DATABASE}.partial"
        path.unlink(missing_ok=True)
        copied = Study(replace(self.address, storage=url_of(path)))
        for trial in self.trials():
            trial = copy.copy(trial)
            trial.distributions = dict(distributions)
            copied.optuna.add_trial(trial)
        copied.set_identity(identity)
        copied.close()
        self.close()
        with write_errors(folder):
            path.replace(folder / DATABASE)
        return Study(self.address)

    @_in_one_line
    def trials(self) -> list[FrozenTrial]:
        """Return all trials, by number."""
        return self.optuna.get_trials(deepcopy=False)

    @_in_one_line
    def create(self, *trials: FrozenTrial) -> list[FrozenTrial]:
        """Create running trials, and return them with their numbers.

        Several are created in one transaction, which nobody else may do meanwhile.
        """
        with self._in_one_write():
            for trial in trials:
                trial.datetime_start = datetime.now()
                created = self.storage.create_new_trial(self._id, trial)
        return (
            self.trials()[-len(trials) :] if len(trials) > 1 else [self.storage.get_trial(created)]
        )

    def _in_one_write(self) -> contextlib.AbstractContextManager[None]:
        """Have what is written within committed at once, where the storage is a database."""
        is_database = isinstance(self.storage, RDBStorage)
        return one_transaction(self.storage) if is_database else contextlib.nullcontext()

    @_in_one_line
    def give_up(self, number: int) -> None:
        """Mark a trial as surplus, since another one has its number."""
        self.storage.set_trial_user_attr(self._trial_id(number), "is_surplus", True)
        self.optuna.tell(number, state=TrialState.FAIL)

    def elsewhere(self, home: str, objectives: Sequence[str]) -> list[Record]:
        """Return records of the trials that other directories run; of a retried one the last."""
        records = {
            notes.number: record_of(trial, notes, objectives)
            for trial in self.trials()
            if (notes := Notes.of(trial)).home != home and not notes.is_surplus
        }
        return list(records.values())

    def _trial_id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self._id, number)

    @contextlib.contextmanager
    def settling_at_once(self) -> Iterator[None]:
        """Write the results of trials that end within at the end of that, in one transaction.

        Each has been recorded by then; after a kill the study is told at the next start.
        """
        self._unsettled = []
        try:
            yield
        finally:
            records, self._unsettled = self._unsettled, None
            self._settle_all(records)

    @_in_one_line
    def _settle_all(self, records: Sequence[Record]) -> None:
        with self._in_one_write():
            for record in records:
                self.settle(record)

    @_in_one_line
    def settle(self, record: Record) -> None:
        """Write a trial's result to the study, unless it is there already."""
        if self._unsettled is not None:
            self._unsettled.append(record)
            return
        number = record.trial
        state, values = TrialState.FAIL, None
        is_unmeasured = record.state == RunState.FINISHED and record.values is None
        if record.state == RunState.FINISHED and record.values is not None:
            state, values = TrialState.COMPLETE, record.values
        elif record.state == RunState.PRUNED:
            state = TrialState.PRUNED
        # Another process may tell the same between Optuna's look at the trial and its write.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            if record.report is not None:
                self._write(number, record.report)
            if is_unmeasured:
                self.storage.set_trial_user_attr(self._trial_id(number), "is_unmeasured", True)
            self.optuna.tell(number, values, state, skip_if_finished=True)

    @_in_one_line
    def prunes(self, number: int, epoch: int, value: float, may_end: bool = True) -> Report | None:
        """Report an epoch of a trial, and ask the pruner whether the trial should end.

        Args:
            number: the trial's in the study.
            epoch: the epoch that has ended, from 0.
            value: the monitored metric after it.
            may_end: whether the pruner is asked.

        Returns:
            None if the trial continues. Otherwise the report, which is not written yet: a process
            killed before the end is recorded decides the same again.
        """
        trials = self.trials()
        known = trials[number].intermediate_values
        if any(step > epoch for step in known):
            return None  # a resumed run: it was not to end then
        if not may_end:
            self._write(number, Report(epoch, value))
            return None
        trial = copy.copy(trials[number])
        trial.intermediate_values = {**known, epoch: value}
        trials[number] = trial
        copied = self.copy(trials, RandomSampler())
        with taking_options("pruner", type(copied.pruner).__name__):
            is_pruned = copied.pruner.prune(copied, copied.get_trials(deepcopy=False)[number])
        attrs = copied.get_trials(deepcopy=False)[number].system_attrs
        changed = {key: attrs[key] for key in attrs if attrs[key] != trial.system_attrs.get(key)}
        report = Report(epoch, value, changed)
        if is_pruned:
            return report
        self._write(number, report)
        return None

    def _write(self, number: int, report: Report) -> None:
        trial_id = self._trial_id(number)
        if self.storage.get_trial(trial_id).state.is_finished():
            return
        self.storage.set_trial_intermediate_value(trial_id, report.epoch, report.value)
        for key, value in report.attrs.items():
            self.storage.set_trial_system_attr(trial_id, key, value)

    def copy(self, trials: Sequence[FrozenTrial], sampler: BaseSampler) -> optuna.Study:
        """Return a study in memory with these trials under the same numbers."""
        copied = optuna.create_study(
            study_name=self.address.name,  # Hyperband draws its brackets from it
            directions=list(self.address.directions),
            sampler=sampler,
            pruner=build_pruner(self.address.pruner, self.address.pruner_options),
        )
        copied.add_trials(trials)
        return copied
