"""Reports and ends of a trial, in whichever process it runs."""

import contextlib
import json
import logging
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState, create_trial

from mnist_lab.errors import (
    BusyError,
    ConfigError,
    Diverged,
    Pruned,
    Stopped,
    StorageError,
)
from mnist_lab.runs.directory import LOCK, METRICS, hold
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.records import Ledger, Record
from mnist_lab.sweeps.storage import DATABASE, url_of
from mnist_lab.sweeps.study import Address, Study
from mnist_lab.sweeps.trial import Sweep, Trial, TrialTask
from mnist_lab.training.observer import current_observer

NAN = float("nan")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    address = Address(url_of(tmp_path / DATABASE), "sweep", ("maximize",), "median")
    return Sweep(tmp_path, address, ("val/acc",))


@pytest.fixture
def study(sweep: Sweep) -> Iterator[Study]:
    opened = Study(sweep.address)
    blank = create_trial(state=TrialState.RUNNING, user_attrs={"home": "h", "number": 0})
    opened.create(blank)
    Ledger(sweep.folder).write(Record(0, {"a": "1"}, 0, attempts=1, error="before"))
    yield opened
    opened.close()


@pytest.fixture
def trial(sweep: Sweep, study: Study) -> Trial:
    return Trial(sweep, study, Ledger(sweep.folder)[0])


def record_of(trial: Trial) -> Record:
    return Ledger(trial._sweep.folder)[0]


def test_start(trial: Trial, tmp_path: Path) -> None:
    trial.start(tmp_path / "some" / "0")
    record = record_of(trial)
    assert (record.state, record.directory, record.attempts) == (RunState.RUNNING, "some/0", 2)
    assert (record.error, record.ended) == (None, None)
    assert record.started is not None


def test_finished(trial: Trial, study: Study) -> None:
    trial.finished({"val/acc": 0.5, "val/loss": 1.0, "x": NAN})
    record = record_of(trial)
    assert (record.state, record.values, record.metrics["x"]) == (RunState.FINISHED, [0.5], None)
    assert study.trials()[0].values == [0.5]


def test_finished_without_what_it_is_ranked_by(trial: Trial, study: Study) -> None:
    trial.finished({"test/acc": 0.5})
    assert (record_of(trial).state, record_of(trial).values) == (RunState.FINISHED, None)
    assert study.trials()[0].state == TrialState.FAIL


@pytest.mark.parametrize("loss", [NAN, float("inf")])
def test_diverged(trial: Trial, study: Study, loss: float) -> None:
    trial.finished({"val/acc": 0.1, "train/loss": loss})
    record = record_of(trial)
    assert (record.state, record.error) == (RunState.FAILED, f"diverged: train/loss is {loss}")
    assert record.metrics["val/acc"] == 0.1
    assert study.trials()[0].state == TrialState.FAIL
    with pytest.raises(Diverged, match="after epoch 3"):
        trial.check_finite({"val/loss": loss}, epoch=2)


def test_pruned(trial: Trial, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not trial.report(0, 0.5)
    monkeypatch.setattr("optuna.pruners.MedianPruner.prune", lambda *_: True)
    assert not trial.report(0, 0.5, is_last=True)
    assert trial.report(1, 0.25)
    assert record_of(trial).state == RunState.RUNNING
    with pytest.raises(Pruned), trial.recorded():
        raise Pruned(trial.reason)
    record = record_of(trial)
    assert (record.state, record.values) == (RunState.PRUNED, [0.25])
    assert record.error == "pruned after epoch 2 with val/acc=0.25"
    (frozen,) = study.trials()
    assert (frozen.state, frozen.intermediate_values) == (TrialState.PRUNED, {0: 0.5, 1: 0.25})


def test_reports_cost_nothing_without_a_pruner(trial: Trial, sweep: Sweep, study: Study) -> None:
    study.address = Address(sweep.address.storage, "sweep", ("maximize",))
    assert not trial.report(0, 0.5)
    assert study.trials()[0].intermediate_values == {}


@pytest.mark.parametrize(
    ("raised", "state", "error", "ends_sweep"),
    [
        (RuntimeError("bad\nluck"), RunState.FAILED, "RuntimeError: bad", False),
        (ConfigError("a=b: wrong"), RunState.FAILED, "ConfigError: a=b: wrong", False),
        (
            Diverged("diverged: val/loss is nan"),
            RunState.FAILED,
            "diverged: val/loss is nan",
            False,
        ),
        (
            SystemExit(1),
            RunState.FAILED,
            "RuntimeError: the run ended its process with exit code 1",
            False,
        ),
        (SystemExit(None), RunState.FAILED, "RuntimeError: the run ended its process", False),
        (StorageError("a: cannot be written"), RunState.INTERRUPTED, "a: cannot", None),
        (Stopped(15), RunState.INTERRUPTED, "", True),
        (KeyboardInterrupt(), RunState.INTERRUPTED, "", True),
    ],
    ids=repr,
)
def test_ends(
    trial: Trial,
    study: Study,
    raised: BaseException,
    state: str,
    error: str,
    ends_sweep: bool | None,
) -> None:
    caught: BaseException | None = None
    try:
        with trial.recorded():
            assert current_observer() is trial
            raise raised
    except BaseException as one:
        caught = one
    assert isinstance(caught, Exception) != bool(ends_sweep)
    assert current_observer() is None
    record = record_of(trial)
    assert record.state == state
    assert (record.error or "").startswith(error)
    assert study.trials()[0].state == (
        TrialState.FAIL if ends_sweep is False else TrialState.RUNNING
    )


@pytest.mark.parametrize("raised", [RuntimeError("bad luck"), Stopped(15), KeyboardInterrupt()])
def test_what_comes_after_its_end_is_not_its_own(
    trial: Trial, study: Study, tmp_path: Path, raised: BaseException
) -> None:
    def finish_and_raise() -> None:
        trial.finished({"val/acc": 0.5})
        raise raised

    trial.start(tmp_path / "0")
    with pytest.raises(type(raised)), trial.recorded():
        finish_and_raise()
    assert record_of(trial).state == RunState.FINISHED
    assert study.trials()[0].values == [0.5]


def test_traceback_is_in_the_runs_own_file(trial: Trial, tmp_path: Path) -> None:
    file = logging.FileHandler(tmp_path / "train.log")
    logging.getLogger().addHandler(file)
    with pytest.raises(RuntimeError), trial.recorded():
        raise RuntimeError("bad luck")
    file.close()
    text = (tmp_path / "train.log").read_text()
    assert "trial 0 (a=1): bad luck" in text
    assert "Traceback" in text


def train(config: DictConfig) -> float:
    """What a launcher has another process run."""
    if config.x:
        raise RuntimeError("bad luck")
    assert current_observer() is not None
    Path(config.run_dir, METRICS).write_text(json.dumps({"val/acc": 0.5}))
    return 0.5


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], DictConfig]:
    """Makes the config of a job that Hydra is running."""
    (tmp_path / "0").mkdir()
    hydra = OmegaConf.create(
        {"hydra": {"job": {"num": 0}, "runtime": {"output_dir": str(tmp_path / "0")}}}
    )
    monkeypatch.setattr(HydraConfig.instance(), "cfg", hydra)
    return lambda x: OmegaConf.create({"x": x, "run_dir": str(tmp_path / "0")})


def test_task_goes_to_another_process(
    sweep: Sweep, study: Study, job: Callable[[Any], DictConfig]
) -> None:
    task = pickle.loads(pickle.dumps(TrialTask(train, sweep, study)))
    assert task(job(0)) == 0.5
    record = Ledger(sweep.folder)[0]
    assert (record.state, record.values, record.directory) == (RunState.FINISHED, [0.5], "0")
    assert study.trials()[0].values == [0.5]


def test_task_that_fails(sweep: Sweep, study: Study, job: Callable[[Any], DictConfig]) -> None:
    with pytest.raises(RuntimeError, match="bad luck"):
        TrialTask(train, sweep, study)(job(1))
    assert Ledger(sweep.folder)[0].error == "RuntimeError: bad luck"


def test_task_of_a_process_whose_trial_another_has_taken_over(
    sweep: Sweep, study: Study, job: Callable[[Any], DictConfig]
) -> None:
    ledger = Ledger(sweep.folder)
    before = replace(ledger[0], owner="successor")
    ledger.write(before)
    with pytest.raises(BusyError, match="another process has taken it over"):
        TrialTask(train, sweep, study, owner="killed")(job(0))
    assert Ledger(sweep.folder)[0] == before
    assert TrialTask(train, sweep, study, owner="successor")(job(0)) == 0.5


@contextlib.contextmanager
def held(run_dir: Path, seconds: float) -> Iterator[None]:
    """Have something else hold a run's directory, as ``mnist-lab runs tag`` does."""
    is_held = threading.Event()

    def hold_it() -> None:
        with hold(run_dir / LOCK, run_dir):
            is_held.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold_it)
    thread.start()
    is_held.wait()
    yield
    thread.join()


def test_a_directory_that_is_busy_for_a_moment_is_waited_for(
    sweep: Sweep, study: Study, job: Callable[[Any], DictConfig]
) -> None:
    with held(sweep.folder / "0", 0.5):
        assert TrialTask(train, sweep, study)(job(0)) == 0.5
    assert Ledger(sweep.folder)[0].attempts == 2


def test_a_directory_that_stays_busy_is_no_failure(
    sweep: Sweep, study: Study, job: Callable[[Any], DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_lab.sweeps.trial._PATIENCE", 0.1)
    before = Ledger(sweep.folder)[0]
    with (
        held(sweep.folder / "0", 1),
        pytest.raises(BusyError, match="is using this directory"),
    ):
        TrialTask(train, sweep, study)(job(0))
    assert Ledger(sweep.folder)[0] == before
    assert study.trials()[0].state == TrialState.RUNNING


def test_after_an_error_of_the_storage_no_trial_of_a_process_starts(
    sweep: Sweep, study: Study, job: Callable[[Any], DictConfig]
) -> None:
    def full(_: DictConfig) -> None:
        raise StorageError("a: cannot be written")

    task = TrialTask(full, sweep, study)
    for attempts in (2, 2):
        with pytest.raises(StorageError, match="a: cannot be written"):
            task(job(0))
        assert Ledger(sweep.folder)[0].attempts == attempts
    assert str(task.stopped_by) == "a: cannot be written"


def test_a_trial_is_seen_to_be_worked_on_from_its_start(
    sweep: Sweep, study: Study, job: Callable[[Any], DictConfig]
) -> None:
    job(0)
    ledger = Ledger(sweep.folder)
    look = (
        f"from mnist_lab.sweeps.records import Ledger; ledger = Ledger(Path({str(sweep.folder)!r}))"
    )
    look = f"from pathlib import Path; {look}; print(ledger.is_worked_on(ledger[0]))"
    with TrialTask(train, sweep, study).opened(0, Path(sweep.folder, "0")):
        seen = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True)
    assert seen.stdout.strip() == "True", seen.stderr
    assert not ledger.is_worked_on(Ledger(sweep.folder)[0])
