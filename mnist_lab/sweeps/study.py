"""A sweep's memory in Optuna: what was asked, what was told, and who is not worth going on."""

import contextlib
import copy
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.pruners import SuccessiveHalvingPruner as HalvingPruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from mnist_lab.errors import ConfigError, InputError, StorageError, first_line, reason
from mnist_lab.sweeps.records import FAILED, FINISHED, PRUNED, RUNNING, Record

optuna.logging.set_verbosity(optuna.logging.ERROR)  # it tells of each trial, as does the display
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
_PRUNERS: dict[str, type[BasePruner]] = {
    "none": NopPruner,
    "median": MedianPruner,
    "successive_halving": HalvingPruner,
    "hyperband": HyperbandPruner,
}
Direction = Literal["maximize", "minimize"]
_STATES = {
    TrialState.COMPLETE: FINISHED,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
}
_NO_JOURNAL = (ValueError, TypeError, LookupError, AssertionError)  # what Optuna raises on one
_LONGEST_LINE = 1_000_000  # bytes of a journal's first line
_PATIENCE = 60  # seconds that SQLite waits for another process that writes


@dataclass(frozen=True)
class Address:
    """Where a study is, for any process that knows of it.

    Args:
        storage: a database URL of Optuna's, or the path of a journal.
        name: the study's name there.
        directions: ``maximize`` or ``minimize`` for each objective.
        pruner: what ends bad trials early.
        pruner_options: arguments of Optuna's class.
    """

    storage: str
    name: str
    directions: tuple[Direction, ...]
    pruner: str = "none"
    pruner_options: Mapping[str, Any] = field(default_factory=dict)


class Study:
    """An Optuna study that any process may open.

    Optuna decides; this sees to it that a process may be killed at any time, and that what follows
    depends on the trials alone and not on when that was. So Optuna samples and prunes on a copy of
    the study that has just what the decision depends on, and what comes of it is written after
    that, each write being one that may be done again.

    Args:
        address: where it is.

    Raises:
        ConfigError: there is no such storage.
        InputError: it is a file of another kind.
        StorageError: the storage cannot be opened.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._storage, self._engine = _open_storage(address.storage)
        try:
            self.optuna = optuna.create_study(
                storage=self._storage,
                study_name=address.name,
                directions=list(address.directions),
                sampler=RandomSampler(),  # never asked
                load_if_exists=True,
            )
        except (SQLAlchemyError, optuna.exceptions.OptunaError, OSError) as error:
            self.close()
            raise StorageError(
                f"{address.storage}: cannot be opened: {first_line(error)}"
            ) from error
        except _NO_JOURNAL as error:
            self.close()
            if self._engine is not None:
                raise
            raise _no_journal(address.storage, error) from error
        self.storage: BaseStorage = self.optuna._storage  # Optuna's cache of what it was given

    def close(self) -> None:
        """Give the connections back."""
        if self._engine is not None:
            self._engine.scoped_session.remove()
            self._engine.engine.dispose()

    @property
    def identity(self) -> dict[str, Any] | None:
        """What the sweep of this study is, where one has written it."""
        return self.optuna.user_attrs.get("plan")

    def set_identity(self, identity: Mapping[str, Any]) -> None:
        """Keep what the sweep of this study is."""
        self.optuna.set_user_attr("plan", dict(identity))

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, by number."""
        return self.optuna.get_trials(deepcopy=False)

    def create(self, trial: FrozenTrial) -> FrozenTrial:
        """Create a running trial in one write, and return it with its number."""
        trial.datetime_start = datetime.now()
        study_id = self.optuna._study_id
        return self.storage.get_trial(self.storage.create_new_trial(study_id, trial))

    def give_up(self, number: int) -> None:
        """Have a trial not count, since another one has its place."""
        self.storage.set_trial_user_attr(self.trial_id(number), "is_surplus", True)
        self.optuna.tell(number, state=TrialState.FAIL)

    def elsewhere(self, home: str) -> list[Record]:
        """Return what is known of the trials of other directories, which have no record here."""
        return [
            Record(
                number=trial.user_attrs["number"],
                params={key: str(value) for key, value in trial.params.items()},
                trial=trial.number,
                state=_STATES.get(trial.state, RUNNING),
                values=trial.values,
                owner=trial.user_attrs["home"],
            )
            for trial in self.trials()
            if trial.user_attrs["home"] != home and "is_surplus" not in trial.user_attrs
        ]

    def trial_id(self, number: int) -> int:
        """Return what the storage calls a trial."""
        return self.storage.get_trial_id_from_study_id_trial_number(self.optuna._study_id, number)

    def settle(self, record: Record) -> None:
        """Tell what became of a trial, once or again."""
        number = record.trial
        state, values = TrialState.FAIL, None
        if record.state == FINISHED and record.values is not None:
            state, values = TrialState.COMPLETE, record.values
        elif record.state == PRUNED:
            state = TrialState.PRUNED
        # Another process may tell the same between Optuna's look at the trial and its write.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            if record.report is not None:
                self._note(number, **record.report)
            self.optuna.tell(number, values, state, skip_if_finished=True)

    def prunes(
        self, number: int, epoch: int, value: float, may_end: bool = True
    ) -> dict[str, Any] | None:
        """Return what is to be told of a trial that should end after an epoch, else tell it now.

        Args:
            number: the trial's in the study.
            epoch: the epoch that has ended, from 0.
            value: the monitored value after it.
            may_end: whether the pruner is asked.

        Returns:
            None where the trial goes on. Else nothing was told, so that who is killed before the
            end is recorded decides the same again.
        """
        trials = self.trials()
        known = trials[number].intermediate_values
        if any(step > epoch for step in known):
            return None  # a run that goes on from before: it was not to end then
        if not may_end:
            self._note(number, epoch, value, {})
            return None
        trial = copy.copy(trials[number])
        trial.intermediate_values = {**known, epoch: value}
        trials[number] = trial
        imagined = self.copied(trials, RandomSampler())
        with taking_options("pruner", type(imagined.pruner).__name__):
            is_pruned = imagined.pruner.prune(imagined, imagined.get_trials(deepcopy=False)[number])
        attrs = imagined.get_trials(deepcopy=False)[number].system_attrs
        noted = {key: attrs[key] for key in attrs if attrs[key] != trial.system_attrs.get(key)}
        report: dict[str, Any] = {"epoch": epoch, "value": value, "attrs": noted}
        if is_pruned:
            return report
        self._note(number, **report)
        return None

    def _note(self, number: int, epoch: int, value: float, attrs: Mapping[str, Any]) -> None:
        trial_id = self.trial_id(number)
        if self.storage.get_trial(trial_id).state.is_finished():
            return
        self.storage.set_trial_intermediate_value(trial_id, epoch, value)
        for key, value in attrs.items():
            self.storage.set_trial_system_attr(trial_id, key, value)

    def copied(self, trials: Sequence[FrozenTrial], sampler: BaseSampler) -> optuna.Study:
        """Return a study in memory with these trials under the same numbers."""
        imagined = optuna.create_study(
            study_name=self.address.name,  # Hyperband draws its brackets from it
            directions=list(self.address.directions),
            sampler=sampler,
            pruner=build_pruner(self.address),
        )
        imagined.add_trials(trials)
        return imagined


def build(kind: str, cls: Any, options: Mapping[str, Any]) -> Any:
    """Build a sampler or a pruner.

    Raises:
        ConfigError: it does not take the options.
    """
    with taking_options(kind, cls.__name__):
        return cls(**options)


@contextlib.contextmanager
def taking_options(kind: str, name: str) -> Iterator[None]:
    """Say of an error that it is the options', which Optuna looks at when it needs them.

    Raises:
        ConfigError: there was one.
    """
    try:
        yield
    except (TypeError, ValueError, AssertionError) as error:
        problem = first_line(error).replace(f"{name}.__init__() ", "")
        raise ConfigError(
            f"hydra.sweeper.{kind}_options: must be arguments of optuna's {name}; {problem}"
        ) from error
    except ImportError as error:
        raise ConfigError(
            f"hydra.sweeper.{kind}: {name} needs a package that is not installed "
            f"({first_line(error)}); pip install mnist_lab[search]"
        ) from error


def build_pruner(address: Address) -> BasePruner:
    """Build a study's pruner.

    Raises:
        ConfigError: it does not take its options.
    """
    pruner: BasePruner = build("pruner", _PRUNERS[address.pruner], address.pruner_options)
    return pruner


def default_storage(folder: Path) -> str:
    """Return the URL of the study that lies in a sweep's directory."""
    path = str((folder / "study.db").absolute())
    return URL.create("sqlite", database=path).render_as_string()


def _check_journal(path: Path) -> None:
    """Check what a file begins with; Optuna would write to any text whose last line it cannot read.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no journal.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise ValueError("it is no file")
    with path.open("rb") as file:
        line = file.readline(_LONGEST_LINE)
    if line and "op_code" not in dict(json.loads(line)):
        raise ValueError("its first line has no op_code")


def _no_journal(storage: str, error: Exception) -> InputError:
    return InputError(f"{storage}: no journal of Optuna's, or damaged: {first_line(error)}")


def _open_storage(storage: str) -> tuple[BaseStorage, RDBStorage | None]:
    """Open a storage.

    Raises:
        ConfigError: it is none, or its driver is not installed.
        InputError: it is a file of another kind.
        StorageError: it cannot be reached.
    """
    if "://" not in storage:
        try:
            _check_journal(Path(storage))
            return JournalStorage(JournalFileBackend(storage)), None
        except OSError as error:
            raise StorageError(f"{storage}: cannot be opened: {reason(error)}") from error
        except _NO_JOURNAL as error:
            raise _no_journal(storage, error) from error
    engine = {"connect_args": {"timeout": _PATIENCE}} if storage.startswith("sqlite") else {}
    try:
        database = RDBStorage(storage, engine_kwargs=engine)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"hydra.sweeper.storage={storage}: {first_line(error)}") from error
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        if isinstance(error, SQLAlchemyError) and not hasattr(error, "orig"):
            raise ConfigError(f"hydra.sweeper.storage={storage}: {first_line(error)}") from error
        raise StorageError(f"{storage}: cannot be opened: {first_line(error)}") from error
    return database, database
