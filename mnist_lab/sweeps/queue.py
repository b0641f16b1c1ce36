"""Which trials come next: those left by a process that is gone, then new ones of Optuna's."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_lab.config.sweep_schema import Settings
from mnist_lab.errors import InputError
from mnist_lab.runs import directory
from mnist_lab.sweeps.records import FAILED, Ledger, Record
from mnist_lab.sweeps.space import Space
from mnist_lab.sweeps.study import Address, Study, build, build_pruner, taking_options

_SAMPLERS: dict[str, type[BaseSampler]] = {
    "tpe": TPESampler,
    "random": RandomSampler,
    "cmaes": CmaEsSampler,
    "gp": GPSampler,
}
_TRIED = 12  # trials, more than samplers and pruners begin with by default
_STARTS = 2  # of a trial whose own process ends without a word, before it has failed


class Search:
    """Hands out a sweep's trials; several processes may, and none gets what another has.

    Trials are asked for in rounds. What a trial is depends on its number and on what is known of
    the trials before it; so a sweep which was killed while it asked first asks for the rest of the
    round, and one which was killed later first runs the rest, and then both go on as they would
    have done.

    Args:
        study: the memory.
        ledger: the records.
        settings: what was asked for.
        space: what is searched.
        owner: the name of this process.
        home: the sweep's directory; a study may have trials of other directories.
        total: the trials of the sweep in all; for a grid all of its points.

    Raises:
        InputError: the study is not the one that the records are of.
    """

    def __init__(
        self,
        study: Study,
        ledger: Ledger,
        settings: Settings,
        space: Space,
        owner: str,
        home: str,
        total: int,
    ) -> None:
        self._study = study
        self._ledger = ledger
        self._settings = settings
        self._owner = owner
        self._home = home
        self._total = total
        self._distributions = space.distributions()
        self._grid = space.grid() if settings.sampler == "grid" else None
        self._starts: dict[int, int] = {}  # of each trial, by this process
        self._retries = settings.retry_failed
        trials = study.trials()
        for trial in trials:  # each end is recorded before the study is told
            number = trial.user_attrs["number"]
            is_own = trial.user_attrs["home"] == home and "is_surplus" not in trial.user_attrs
            if is_own and trial.state.is_finished() and number not in ledger:
                raise InputError(
                    f"{ledger.sweep_dir}: lacks the record of trial {number}, which its study has; "
                    "put it back, or choose another hydra.sweep.dir"
                )
        recorded = [record.trial for record in ledger]
        if recorded and max(recorded) >= len(trials):
            raise InputError(
                f"{study.address.storage}: lacks trials of which {ledger.sweep_dir} has records; "
                "put it back, or choose another hydra.sweep.dir"
            )

    def next_batch(self, size: int) -> list[Record]:
        """Take trials to run; none are left where the list is empty.

        Args:
            size: the most trials.

        Raises:
            LabError: the directory or the storage cannot be written.
        """
        with self._ledger.locked():
            batch = self._left_over()
            trials = self._study.trials()
            if self._retries:
                batch += self._again(trials)
                self._retries = False
            batch = batch[:size]
            first = _round(trials[batch[-1].trial]) if batch else len(trials)
            if not batch or self._grid is not None or _is_open(first, batch, size, trials):
                while len(batch) < size and (record := self._ask(first, trials)):
                    batch.append(record)
        for record in batch:
            self._starts[record.number] = self._starts.get(record.number, 0) + 1
        return sorted(batch, key=lambda record: record.number)

    def _left_over(self) -> list[Record]:
        """Take back the trials whose process is gone; tell what it could not tell any more."""
        found = []
        for trial in self._study.trials():
            if trial.state.is_finished() or trial.user_attrs["home"] != self._home:
                continue
            number = trial.user_attrs["number"]
            if number not in self._ledger or self._ledger[number].trial < trial.number:
                found.append(self._record(trial))  # its process was killed before it could
                continue
            record = self._ledger[number]
            if not self._is_free(record):
                continue  # its own process runs it, or is about to tell the study how it ended
            if record.is_final:
                self._study.settle(record)
            elif self._starts.get(number, 0) >= _STARTS:
                self.fail(record, f"its process ended without a word, {_STARTS} times")
            else:
                record.owner = self._owner
                self._ledger.write(record)
                found.append(record)
        return found

    def _is_free(self, record: Record) -> bool:
        is_left = record.owner == self._owner or not self._ledger.is_alive(record.owner)
        return is_left and not self._ledger.is_worked_on(record)

    def fail(self, record: Record, error: str) -> None:
        """Record that a trial has failed without having run to an end."""
        record.state, record.error, record.ended = FAILED, error, directory.now()
        self._ledger.write(record)
        self._study.settle(record)

    def _again(self, trials: list[FrozenTrial]) -> list[Record]:
        """Take the trials that have failed for another attempt, each a new one to Optuna."""
        failed = [record for record in self._ledger if record.state == FAILED]
        return [
            self._create(record.number, trials[record.trial].params, {}, trials, is_retry=True)
            for record in failed
        ]

    def _ask(self, first: int, trials: list[FrozenTrial]) -> Record | None:
        """Ask for a new trial, unless there are enough.

        Args:
            first: the first trial of the round.
            trials: all trials; the new one is added.
        """
        while (number := _first_free(trials)) < self._total:
            record = self._create(number, *self._values(number, trials), trials, round=first)
            if self._settings.storage is None:
                return record
            trials[:] = self._study.trials()
            if all(one.user_attrs["number"] != number for one in trials[: record.trial]):
                return record
            # A process with another directory, and so with another lock, was faster.
            self._study.give_up(record.trial)
            self._ledger.remove(record)
        return None

    def _values(
        self, number: int, trials: Sequence[FrozenTrial]
    ) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """Return the values of a new trial, and what the sampler notes of it."""
        if self._grid is not None:
            return self._grid[number], {}
        sampler = build_sampler(self._settings, number)
        imagined = self._study.copied(trials, sampler)
        with taking_options("sampler", type(sampler).__name__):
            asked = imagined.ask(self._distributions)
        return asked.params, imagined.get_trials(deepcopy=False)[-1].system_attrs

    def _create(
        self,
        number: int,
        params: Mapping[str, Any],
        noted: dict[str, Any],
        trials: list[FrozenTrial],
        **attrs: Any,
    ) -> Record:
        """Create a trial whole or not at all, and record it."""
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=self._distributions,
            user_attrs={"home": self._home, "number": number, **attrs},
            system_attrs=noted,
        )
        trials.append(self._study.create(trial))
        return self._record(trials[-1])

    def _record(self, trial: FrozenTrial) -> Record:
        number = trial.user_attrs["number"]
        attempts = self._ledger[number].attempts if number in self._ledger else 0
        params = {key: str(trial.params[key]) for key in self._distributions}
        record = Record(number, params, trial.number, owner=self._owner, attempts=attempts)
        self._ledger.write(record)
        return record


def _round(trial: FrozenTrial) -> int:
    """Return the first trial of the round that a trial is of."""
    return int(trial.user_attrs.get("round", trial.number))


def _is_open(first: int, batch: Sequence[Record], size: int, trials: Sequence[FrozenTrial]) -> bool:
    """Return whether a process was killed while it asked for a round, before any of it ran."""
    members = [one.number for one in trials if one.user_attrs.get("round") == first]
    return len(members) < size and {*members} <= {record.trial for record in batch}


def check_options(settings: Settings, address: Address, space: Space) -> None:
    """Check the options of sampler and pruner on a study in memory that has some trials already.

    Optuna looks at some of them only then, and at a few even later.

    Raises:
        ConfigError: one does not take its options.
    """
    pruner, distributions = build_pruner(address), space.distributions()
    sampler = RandomSampler() if settings.is_grid else build_sampler(settings, 0)
    random = RandomSampler(seed=0)
    tried = optuna.create_study(directions=list(address.directions), sampler=random, pruner=pruner)
    for number in range(_TRIED):
        trial = tried.ask(distributions)
        if settings.pruner != "none":
            trial.report(float(number), step=0)
        tried.tell(trial, [float(number)] * len(address.directions))
    tried.sampler = sampler
    with taking_options("sampler", type(sampler).__name__):
        trial = tried.ask(distributions)
    if settings.pruner != "none":
        trial.report(0.0, step=0)
        with taking_options("pruner", type(pruner).__name__):
            trial.should_prune()


def build_sampler(settings: Settings, number: int) -> BaseSampler:
    """Build the sampler of a trial, which has a seed of its own, whichever process asks.

    Raises:
        ConfigError: it does not take its options.
    """
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    options = {"seed": seed, **settings.sampler_options}
    sampler: BaseSampler = build("sampler", _SAMPLERS[settings.sampler], options)
    return sampler


def _first_free(trials: Sequence[FrozenTrial]) -> int:
    """Return the first number that no trial has."""
    taken = {one.user_attrs["number"] for one in trials}
    return next(number for number in itertools.count() if number not in taken)
