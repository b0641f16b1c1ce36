"""Sweeps by the shipped command: their memory, their failures, and what they leave."""

import json
import logging
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml
from door import COMMAND, FEW_BATCHES, run, without_torch

from mnist_lab.cli import main
from mnist_lab.runs import MANIFEST, METRICS
from mnist_lab.sweeps.ledger import FAILED, FINISHED, INTERRUPTED, PRUNED, Ledger, Record

SOFTMAX = ["model=softmax", *FEW_BATCHES.split()]
TROUBLE = """\
import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
class Trouble(L.Callback):
    def on_train_start(self, trainer, pl_module):
        number = HydraConfig.get().job.num
        if number in (3, 7, 11):
            raise RuntimeError(f"bad luck of {number}")
        if number == 5:
            with torch.no_grad():
                for parameter in pl_module.parameters():
                    parameter.fill_(float("nan"))
"""
TROUBLED = ["+callbacks.trouble._target_=trouble.Trouble", "allow_targets=[trouble.]"]
GRID = ["optimizer.lr=1e-3,1e-2,3e-2,1e-1", "seed=range(5)"]
TPE = [
    "optimizer.lr=tag(log,interval(1e-4,1e-1))",
    "optimizer.weight_decay=interval(0,0.5)",
    "model.init=choice(default,zeros,normal)",
    "hydra.sweeper.n_trials=20",
    "hydra.sweeper.sampler_options={n_startup_trials:4}",
]
HALVING = [
    "trainer.max_epochs=4",
    "hydra.sweeper.pruner=successive_halving",
    "hydra.sweeper.pruner_options={min_resource:1,reduction_factor:2}",
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trouble.py").write_text(TROUBLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for handler in logging.getLogger().handlers:  # the last trial's log is open yet
        handler.close()
    sys.modules.pop("trouble", None)


Sweep = Callable[..., int]


pytestmark = pytest.mark.usefixtures("mnist_files")


@pytest.fixture
def sweep() -> Sweep:
    """Runs a sweep of few steps in this process and returns the exit code."""
    return lambda *arguments: main(["train", "-m", *SOFTMAX, *arguments])


def records(folder: str = "s") -> list[Record]:
    return list(Ledger(Path(folder)))


def study(folder: str = "s") -> optuna.Study:
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder}/study.db")


def test_grid_leaves_runs_and_results(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["optimizer.lr=1e-3,1e-2", "seed=1,2"]
    assert sweep(*grid, "hydra.sweep.dir=s") == 0
    found = records()
    assert [record.params for record in found] == [
        {"optimizer.lr": lr, "seed": seed} for lr in ("0.001", "0.01") for seed in ("1", "2")
    ]
    for record in found:
        metrics = json.loads(Path("s", str(record.directory), METRICS).read_text())
        assert record.metrics == metrics
        assert record.values == [metrics["val/acc"]]
    assert [trial.state.name for trial in study().trials] == ["COMPLETE"] * 4
    out = capsys.readouterr().out
    assert "best trials" in out
    assert "4 trials: 4 finished" in out
    content = json.loads(Path("s/leaderboard.json").read_text())
    best = found[content["best"]]
    assert best.values == max(record.values for record in found if record.values)

    before = {path: path.stat().st_mtime_ns for path in Path("s").rglob("*/checkpoints/*")}
    assert sweep(*grid, "hydra.sweep.dir=s") == 0  # all is done
    out = capsys.readouterr().out
    assert "s: 4 trials, 4 of them done already" in out
    assert {path: path.stat().st_mtime_ns for path in Path("s").rglob("*/checkpoints/*")} == before

    command = out.splitlines()[-1].partition("train the best again: mnist-lab ")[2]
    assert main([*shlex.split(command), "hydra.run.dir=again"]) == 0
    again = json.loads(Path("again", METRICS).read_text())
    assert again["val/acc"] == best.metrics["val/acc"]
    assert again["val/loss"] == best.metrics["val/loss"]


def test_a_trial_is_the_run_that_it_would_be_alone(sweep: Sweep) -> None:
    options = ["model=mlp", "model.hidden_dims=[16]", "data.augment=affine"]
    assert sweep(*options, "model.init=default,normal", "seed=1,2", "hydra.sweep.dir=s") == 0
    for record in records():
        chosen = [f"{key}={value}" for key, value in record.params.items()]
        assert main(["train", *SOFTMAX, *options, *chosen, f"hydra.run.dir=a/{record.number}"]) == 0
        trial, alone = Path("s", str(record.number)), Path("a", str(record.number))
        assert (trial / "config.yaml").read_text() == (alone / "config.yaml").read_text()
        weights = [
            torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
            for folder in (trial, alone)
        ]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.filterwarnings("ignore:Encountered `nan` values in tensor:UserWarning")
def test_failures_are_recorded_and_listed(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["seed=range(6)", *TROUBLED, "hydra.sweep.dir=s"]
    assert sweep(*arguments) == 1
    assert [record.state for record in records()] == [FINISHED] * 3 + [FAILED, FINISHED, FAILED]
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "mnist-lab train: trial 3 (seed=3): RuntimeError: bad luck of 3",
        f"mnist-lab train: trial 5 (seed=5): {records()[5].error}",
    ]
    assert str(records()[5].error).startswith("diverged: ")
    assert "6 trials: 4 finished, 2 failed" in captured.out
    assert "Traceback" not in captured.out + captured.err
    assert "Traceback" in Path("s/3/train.log").read_text()

    assert sweep(*arguments) == 1  # nothing is tried again unless asked for
    assert [record.attempts for record in records()] == [1] * 6
    Path("trouble.py").write_text(TROUBLE.replace("(3, 7, 11)", "()"))
    del sys.modules["trouble"]
    assert sweep(*arguments, "hydra.sweeper.retry_failed=true") == 1
    assert [record.attempts for record in records()] == [1, 1, 1, 2, 1, 2]
    assert [record.state for record in records()] == [FINISHED] * 5 + [FAILED]
    assert len(study().trials) == 8


def test_search_prunes_and_saves_epochs(sweep: Sweep) -> None:
    assert sweep(*TPE, *HALVING, "hydra.sweeper.n_trials=8", "hydra.sweep.dir=s") == 0
    found = records()
    assert {record.state for record in found} == {FINISHED, PRUNED}
    for record, trial in zip(found, study().trials, strict=True):
        manifest = json.loads(Path("s", str(record.number), MANIFEST).read_text())
        assert manifest["state"] == record.state
        epochs = sorted(trial.intermediate_values)
        if record.state == PRUNED:
            assert record.report is not None
            assert epochs == list(range(record.report["epoch"] + 1))
            assert len(epochs) < 4
            assert manifest["error"] == record.error
        else:
            assert epochs == [0, 1, 2, 3]
            assert trial.values == record.values
    # n_trials is of the study, also when it goes on.
    assert sweep(*TPE, *HALVING, "hydra.sweeper.n_trials=10", "hydra.sweep.dir=s") == 0
    assert len(records()) == len(study().trials) == 10
    assert records()[:8] == found


def test_several_objectives(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    dims = "model.hidden_dims=choice([2],[4],[8])"
    objectives = "hydra.sweeper.objectives={num_params:min}"
    search = ["hydra.sweeper.sampler=tpe", "hydra.sweeper.n_trials=4"]
    assert sweep("model=mlp", dims, "seed=0,1", objectives, *search, "hydra.sweep.dir=s") == 0
    assert [one.name for one in study().directions] == ["MAXIMIZE", "MINIMIZE"]
    for record in records():
        assert record.values == [record.metrics["val/acc"], record.metrics["num_params"]]
    assert "trials that none beats in every objective" in capsys.readouterr().out


def test_unmeasured_grid(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("data.val_size=0", "seed=1,2", "hydra.sweep.dir=s") == 0
    assert [(record.state, record.values) for record in records()] == [(FINISHED, None)] * 2
    assert sweep("data.val_size=0", "seed=1,2", "hydra.sweep.dir=s") == 0
    out = capsys.readouterr().out
    assert "s: 2 trials, 2 of them done already" in out


def test_shared_storage(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["hydra.sweeper.storage=journal", "hydra.sweeper.study_name=mine"]
    grid = ["seed=range(3)", *shared]
    assert sweep(*grid, "hydra.sweep.dir=s") == 0
    assert sweep(*grid, "hydra.sweep.dir=t") == 0
    assert (len(records()), records("t")) == (3, [])
    assert "3 trials: 3 finished" in capsys.readouterr().out  # what the others did is known
    assert main(["train", "-m", *SOFTMAX, "seed=range(4)", *shared, "hydra.sweep.dir=u"]) == 2
    assert "mine in" in capsys.readouterr().err


@pytest.mark.parametrize("storage", ["sqlite:///s/study.db", "s/journal"])
def test_a_storage_in_the_sweeps_own_directory(sweep: Sweep, storage: str) -> None:
    named = [f"hydra.sweeper.storage={storage}", "hydra.sweeper.study_name=mine"]
    assert sweep("trainer.fast_dev_run=true", "seed=1,2", *named, "hydra.sweep.dir=s") == 0
    assert len(records()) == 2


def test_another_sweep_in_the_directory_is_refused(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["trainer.fast_dev_run=true", "hydra.sweep.dir=s"]
    assert sweep(*folder, "seed=1,2") == 0
    capsys.readouterr()
    for words, message in (
        ("seed=1,3", "holds another sweep (seed=1,2 there, seed=1,3 here)"),
        ("seed=1,2 trainer.max_epochs=7", "trainer.max_epochs=1 there, 7 here"),
        ("seed=1,2 hydra.sweeper.sampler=random", "sampler=grid there, random here"),
        (
            "seed=1,2 hydra.sweeper.storage=j hydra.sweeper.study_name=n",
            "hydra.sweeper.storage=j: must be null as when",
        ),
    ):
        assert sweep(*folder, *words.split()) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("sampler_options={n_startup_trials:abc}", 2, "sampler_options: must be arguments of"),
        ("pruner=median hydra.sweeper.pruner_options={n_startup_trials:abc}", 2, "MedianPruner;"),
        ("sampler_options={n_startup_trials:1,n_ei_candidates:abc}", 2, "of optuna's TPESampler"),
        ("pruner=hyperband hydra.sweeper.pruner_options={reduction_factor:abc}", 2, "HyperbandPr"),
        ("storage=note.txt hydra.sweeper.study_name=n", 3, "note.txt: no journal of Optuna's"),
        ("storage=bytes hydra.sweeper.study_name=n", 3, "bytes: no journal of Optuna's"),
        ("storage=sqlite:///note.txt hydra.sweeper.study_name=n", 5, "note.txt: cannot be opened"),
    ],
)
def test_what_optuna_looks_at_late_is_refused_first(
    words: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("note.txt").write_text("hello")
    Path("bytes").write_bytes(b"\xca\xfe is no journal\n")
    space = "optimizer.lr=interval(1e-4,1e-2)"
    arguments = [space, "hydra.sweep.dir=s", *f"hydra.sweeper.{words}".split()]
    assert main(["train", "-m", *SOFTMAX, *arguments]) == code
    error = capsys.readouterr().err
    assert (message in error, error.count("\n")) == (True, 1), error
    assert not Path("s").exists()
    assert Path("note.txt").read_text() == "hello"


def test_runs_of_no_sweep_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("s/0").mkdir(parents=True)
    Path("s/0", MANIFEST).write_text("{}")
    assert main(["train", "-m", *SOFTMAX, "seed=1,2", "hydra.sweep.dir=s"]) == 2
    assert "holds runs that are of no sweep" in capsys.readouterr().err
    assert [path.name for path in Path("s").iterdir()] == ["0"]


def test_a_record_that_is_lost_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "-m", *SOFTMAX, "seed=1,2", "hydra.sweep.dir=s"]
    assert main(arguments) == 0
    Path("s/ledger/00001.json").unlink()
    capsys.readouterr()
    assert main(arguments) == 3
    assert "s: lacks the record of trial 1, which its study has" in capsys.readouterr().err


def test_sweep_that_a_signal_stops() -> None:
    arguments = ["train", "-m", *SOFTMAX, "seed=range(6)", "hydra.sweep.dir=s"]
    process = subprocess.Popen(
        [COMMAND, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    _wait(lambda: num_done("s") >= 2)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "stopped by SIGTERM" in error
    assert main(arguments) == 0
    assert [record.state for record in records()] == [FINISHED] * 6


@pytest.mark.parametrize(
    "launcher",
    ["fused", pytest.param("parallel hydra.launcher.workers=2", marks=pytest.mark.slow)],
)
def test_a_signal_has_trials_that_run_side_by_side_saved(launcher: str) -> None:
    arguments = (
        "train -m model=mlp model.hidden_dims=[8] seed=1,2 trainer=cpu trainer.max_epochs=20000 "
        "trainer.limit_train_batches=20 trainer.limit_val_batches=1 trainer.limit_test_batches=1 "
        "logger=none trainer.enable_model_summary=false callbacks.checkpoint.every_n_seconds=5 "
        f"hydra.sweep.dir=s hydra/launcher={launcher}"
    ).split()
    process = subprocess.Popen([COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    saved = [Path(f"s/{number}/checkpoints/last.ckpt") for number in (0, 1)]
    try:
        _wait(lambda: all(path.exists() for path in saved))
        before = time.time()  # the next save that no signal asks for would be 5 seconds later
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()  # which does nothing where it has ended
    assert process.returncode == 143
    assert "stopped with 0 of 2 trials done" in error
    assert "Traceback" not in error
    for path in saved:
        assert path.stat().st_mtime > before - 0.1  # clocks of files are coarse
        assert json.loads((path.parents[1] / MANIFEST).read_text())["state"] == "interrupted"
    assert {record.state for record in records()} == {INTERRUPTED}


def test_two_processes_share_a_sweep() -> None:
    grid = ["optimizer.lr=1e-3,1e-2,1e-1", "seed=1,2,3"]
    command = [COMMAND, "train", "-m", *SOFTMAX, *grid, "hydra.sweep.dir=s"]
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    _wait(lambda: len({record.owner for record in safely_read("s")}) == 2)
    assert [process.wait(timeout=100) for process in processes] == [0, 0]
    for process in processes:
        process.communicate()
    assert [(record.state, record.attempts) for record in records()] == [(FINISHED, 1)] * 9
    assert [trial.state.name for trial in study().trials] == ["COMPLETE"] * 9


def test_bad_sweeps_are_told_of_without_torch(tmp_path: Path) -> None:
    """Neither is Optuna imported."""
    environment = without_torch(tmp_path)
    fake = tmp_path / "without" / "optuna"
    fake.mkdir()
    (fake / "__init__.py").write_text("raise RuntimeError('optuna was imported')\n")
    for words, message in (
        ("optimizer.lrr=interval(0,1)", "optimizer.lrr: no such key; did you mean optimizer.lr?"),
        ("optimizer.lr=interval(1,0.1)", "must go from the smaller number to the larger one"),
        ("optimizer.lr=interval(-1,1)", "optimizer.lr=-1.0: must be a number above 0"),
        ("hydra/launcher=basic,joblib", "hydra/launcher=basic,joblib: must have one value"),
        ("seed=1,2 hydra.sweeper.sampler=tpee", "did you mean tpe?"),
        ("seed=1,2 hydra.sweeper.ntrials=3", "did you mean hydra.sweeper.n_trials?"),
    ):
        done = run(f"train -m {words}", tmp_path, **environment)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_single_run_does_without_optuna(tmp_path: Path) -> None:
    (tmp_path / "optuna.py").write_text("raise RuntimeError('optuna was imported')\n")
    done = run("train " + " ".join(SOFTMAX), tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(path.stem for path in Path("conf/sweep").glob("*.yaml")))
def test_shipped_searches(name: str, sweep: Sweep) -> None:
    few = ["hydra.sweeper.batch_size=2"]
    content = yaml.safe_load(
        Path(__file__).parents[2].joinpath(f"conf/sweep/{name}.yaml").read_text()
    )
    if content["hydra"]["sweeper"]["sampler"] != "grid":
        few.append("hydra.sweeper.n_trials=2")
    model = content["defaults"][0]["override /model"] if "defaults" in content else "softmax"
    options: list[Any] = [f"sweep={name}", f"model={model}", *few, "hydra.sweep.dir=s"]
    assert sweep(*options) == 0
    assert {record.state for record in records()} <= {FINISHED, PRUNED}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("search", "size"), [(GRID, 1), (TPE, 1), ([*TPE, *HALVING], 4)], ids=["grid", "tpe", "pruned"]
)
def test_killed_ten_times(search: list[str], size: int, tmp_path: Path) -> None:
    options = ["trainer.max_epochs=2", "callbacks.checkpoint.every_n_steps=1", *TROUBLED, *search]
    command = [COMMAND, "train", "-m", *SOFTMAX, *options, f"hydra.sweeper.batch_size={size}"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "env": environment}
    alone = subprocess.run([*command, "hydra.sweep.dir=alone"], **quiet)
    assert alone.returncode == 1, alone.stderr
    generator = random.Random(0)
    for _ in range(10):
        process = subprocess.Popen([*command, "hydra.sweep.dir=s"], **quiet)
        limit = num_done("s") + generator.choice([0, 1, 1])
        _wait(lambda: process.poll() is not None or num_done("s") > limit)  # noqa: B023
        time.sleep(generator.random() * 0.5)
        process.kill()
        process.communicate()
    last = subprocess.run([*command, "hydra.sweep.dir=s"], **quiet)
    assert last.returncode == 1
    assert last.stderr.count(b"bad luck of") == 3
    assert last.stderr.count(b"diverged: ") == 1
    assert [outcome("s", one) for one in records("s")] == [
        outcome("alone", one) for one in records("alone")
    ]
    assert len(records("s")) == 20
    assert all(record.is_final for record in records("s"))
    assert all(trial.state.is_finished() for trial in study("s").trials)
    shutil.rmtree("s")


def outcome(folder: str, record: Record) -> tuple[Any, ...]:
    """Return what must not depend on when a sweep was killed."""
    metrics = {k: v for k, v in record.metrics.items() if not k.startswith("time/")}
    weights: dict[str, str] = {}
    if record.state == FINISHED:
        manifest = json.loads(Path(folder, str(record.directory), MANIFEST).read_text())
        weights = manifest["sha256"]
    return (record.params, record.state, record.values, record.error, metrics, weights)


def num_done(folder: str) -> int:
    return sum(record.is_final for record in safely_read(folder))


def safely_read(folder: str) -> list[Record]:
    return records(folder) if Path(folder, "ledger").is_dir() else []


def _wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
