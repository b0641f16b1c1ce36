"""Studies in their storages."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from mnist_lab.errors import StorageError
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.records import Record, Report
from mnist_lab.sweeps.storage import DATABASE, url_of
from mnist_lab.sweeps.study import Address, Study


def running(number: int) -> optuna.trial.FrozenTrial:
    return create_trial(
        state=TrialState.RUNNING,
        params={"a": 0.1 + number},
        distributions={"a": FloatDistribution(0, 100)},
        user_attrs={"home": f"home {number % 2}", "number": number},
    )


@pytest.fixture(params=["sqlite", "journal"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    folder = tmp_path / "100% a?b#c"  # what a URL has to quote
    folder.mkdir()
    storage = url_of(folder / DATABASE) if request.param == "sqlite" else str(folder / "journal")
    return Address(
        storage, "sweep", ("maximize",), "median", {"n_startup_trials": 1, "n_warmup_steps": 1}
    )


@pytest.fixture
def study(address: Address) -> Iterator[Study]:
    opened = Study(address)
    yield opened
    opened.close()


def test_what_is_told_is_there_for_others(study: Study, address: Address) -> None:
    assert [trial.number for trial in study.create(running(0))] == [0]
    others = study.create(running(1), running(2), running(3))
    assert [trial.number for trial in others] == [1, 2, 3]
    records = [
        Record(0, {}, 0, state=RunState.FINISHED, values=[0.1 + 0.2]),
        Record(1, {}, 1, state=RunState.PRUNED, report=Report(2, 0.3, {"k": 0.3})),
        Record(2, {}, 2, state=RunState.FAILED),
        Record(3, {}, 3, state=RunState.FINISHED),  # a grid may have no value to rank it by
    ]
    for record in [*records, *records]:
        study.settle(record)
    other = Study(address)
    trials = other.trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert trials[0].values == [0.1 + 0.2]
    assert (trials[1].values, trials[1].intermediate_values) == ([0.3], {2: 0.3})
    assert trials[1].system_attrs == {"k": 0.3}
    assert trials[2].params == {"a": 2.1}
    elsewhere = other.elsewhere("home 0", ["val/acc"])
    assert [(one.number, one.state, one.params) for one in elsewhere] == [
        (1, RunState.PRUNED, {"a": "1.1"}),
        (3, RunState.FINISHED, {"a": "3.1"}),
    ]
    assert (elsewhere[1].values, elsewhere[1].metrics, elsewhere[1].error) == (None, {}, None)
    here = other.elsewhere("home 1", ["val/acc"])
    assert [(one.state, one.metrics) for one in here] == [
        (RunState.FINISHED, {"val/acc": 0.1 + 0.2}),
        (RunState.FAILED, {}),
    ]
    assert here[1].error == "failed in another directory, whose ledger says why"
    other.close()


def test_a_trial_that_was_retried_is_listed_once(study: Study) -> None:
    study.create(running(1))
    study.settle(Record(1, {}, 0, state=RunState.FAILED))
    study.create(running(1))
    (record,) = study.elsewhere("home 0", ["val/acc"])
    assert (record.number, record.trial, record.state) == (1, 1, RunState.RUNNING)
    study.settle(Record(1, {}, 1, state=RunState.FINISHED, values=[0.5]))
    (record,) = study.elsewhere("home 0", ["val/acc"])
    assert (record.trial, record.state, record.values) == (1, RunState.FINISHED, [0.5])


def test_a_result_that_is_no_number_is_none(study: Study) -> None:
    study.create(running(1))
    study.optuna.tell(0, float("inf"))
    (record,) = study.elsewhere("home 0", ["val/acc"])
    assert (record.state, record.values, record.metrics) == (RunState.FINISHED, None, {})


def test_results_are_written_at_once(study: Study, address: Address) -> None:
    study.create(running(0), running(1), running(2))
    other = Study(address)
    with study.settling_at_once():
        for number in range(2):
            study.settle(Record(number, {}, number, state=RunState.FINISHED, values=[0.5]))
        study.settle(Record(2, {}, 2, state=RunState.FINISHED))
        assert {trial.state for trial in other.trials()} == {TrialState.RUNNING}
    assert {trial.state for trial in other.trials()[:2]} == {TrialState.COMPLETE}
    assert other.elsewhere("home 1", ["val/acc"])[1].state == RunState.FINISHED
    other.close()


def test_identity(study: Study, address: Address) -> None:
    assert study.identity is None
    study.set_identity({"space": {"a": "b"}})
    other = Study(address)
    assert other.identity == {"space": {"a": "b"}}
    other.close()


def test_pruning_is_told_by_whoever_ends_the_trial(study: Study) -> None:
    for number in range(2):
        study.create(running(number))
    assert [study.prunes(0, epoch, 0.5) for epoch in range(3)] == [None] * 3
    study.settle(Record(0, {}, 0, state=RunState.FINISHED, values=[0.5]))
    assert study.prunes(1, 0, 0.3) is None
    assert study.prunes(1, 0, 0.3) is None  # again, by a run that is resumed from before
    report = study.prunes(1, 1, 0.4)
    assert report == Report(1, 0.4)
    assert study.trials()[1].intermediate_values == {0: 0.3}
    assert study.prunes(1, 1, 0.4, may_end=False) is None
    assert study.trials()[1].intermediate_values == {0: 0.3, 1: 0.4}
    assert study.prunes(1, 0, 0.1) is None


def test_given_up(study: Study) -> None:
    study.create(running(0))
    study.give_up(0)
    assert study.trials()[0].state == TrialState.FAIL
    assert study.elsewhere("mine", ["val/acc"]) == []


def settled_at_once(study: Study) -> None:
    with study.settling_at_once():
        study.settle(Record(0, {}, 0, RunState.FINISHED, values=[0.5]))


LOCKED = r"cannot be used: (.* database is locked|a transaction has failed)$"
USES: dict[str, Callable[[Study], Any]] = {
    "look": Study.trials,
    "create": lambda study: study.create(running(1)),
    "create several": lambda study: study.create(running(1), running(2)),
    "report": lambda study: study.prunes(0, 0, 0.5),
    "result": lambda study: study.settle(Record(0, {}, 0, RunState.FAILED)),
    "results": settled_at_once,
    "identity": lambda study: study.set_identity({"a": 1}),
    "surplus": lambda study: study.give_up(0),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_database_that_stays_locked_is_one_line(
    use: Callable[[Study], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_lab.sweeps.storage._PATIENCE", 0.1)
    study = Study(Address(url_of(tmp_path / DATABASE), "sweep", ("maximize",), "median"))
    with contextlib.closing(study):
        study.create(running(0))
        with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StorageError, match=LOCKED):
                use(study)
        assert [trial.state for trial in study.trials()] == [TrialState.RUNNING]
        use(study)


def test_a_journal_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    study = Study(Address(str(tmp_path / "journal"), "sweep", ("maximize",)))
    monkeypatch.setattr("optuna.storages.journal.JournalFileBackend.append_logs", full)
    with pytest.raises(StorageError, match="journal: cannot be used: No space left on device"):
        study.create(running(0))
