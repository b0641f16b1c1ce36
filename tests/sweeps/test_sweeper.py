"""Sweeps by the shipped command: their memory, their failures, and what they leave."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from sweeping import HALVING, SOFTMAX, TPE, TROUBLE, TROUBLED, records, study

from mnist_lab.cli.main import main
from mnist_lab.runs.directory import MANIFEST, METRICS
from mnist_lab.runs.manifest import RunState

pytestmark = pytest.mark.usefixtures("mnist_files", "elsewhere")

Sweep = Callable[..., int]


@pytest.fixture
def sweep() -> Sweep:
    """Runs a sweep of few steps in this process and returns the exit code."""
    return lambda *arguments: main(["train", "-m", *SOFTMAX, *arguments])


@pytest.mark.thorough
def test_grid_leaves_runs_and_results(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["optimizer.lr=1e-3,1e-2", "seed=1,2"]
    assert sweep(*grid, "hydra.sweep.dir=s") == 0
    ended = records()
    assert [record.params for record in ended] == [
        {"optimizer.lr": lr, "seed": seed} for lr in ("0.001", "0.01") for seed in ("1", "2")
    ]
    for record in ended:
        metrics = json.loads(Path("s", str(record.directory), METRICS).read_text())
        assert record.metrics == metrics
        assert record.values == [metrics["val/acc"]]
    assert [trial.state.name for trial in study().trials] == ["COMPLETE"] * 4
    out = capsys.readouterr().out
    assert "best trials" in out
    assert "4 trials: 4 finished" in out
    content = json.loads(Path("s/leaderboard.json").read_text())
    best = ended[content["best"]]
    assert best.values == max(record.values for record in ended if record.values)

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


@pytest.mark.thorough
def test_failures_are_recorded_and_listed(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["seed=range(6)", *TROUBLED, "hydra.sweep.dir=s"]
    assert sweep(*arguments) == 1
    assert [record.state for record in records()] == [RunState.FINISHED] * 3 + [
        RunState.FAILED,
        RunState.FINISHED,
        RunState.FAILED,
    ]
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
    assert [record.state for record in records()] == [RunState.FINISHED] * 5 + [RunState.FAILED]
    assert len(study().trials) == 8


@pytest.mark.slow
def test_search_prunes_and_saves_epochs(sweep: Sweep) -> None:
    assert sweep(*TPE, *HALVING, "hydra.sweeper.n_trials=8", "hydra.sweep.dir=s") == 0
    ended = records()
    assert {record.state for record in ended} == {RunState.FINISHED, RunState.PRUNED}
    for record, trial in zip(ended, study().trials, strict=True):
        manifest = json.loads(Path("s", str(record.number), MANIFEST).read_text())
        assert manifest["state"] == record.state
        epochs = sorted(trial.intermediate_values)
        if record.state == RunState.PRUNED:
            assert record.report is not None
            assert epochs == list(range(record.report.epoch + 1))
            assert len(epochs) < 4
            assert manifest["error"] == record.error
        else:
            assert epochs == [0, 1, 2, 3]
            assert trial.values == record.values
    # n_trials is of the study, also when it is resumed.
    assert sweep(*TPE, *HALVING, "hydra.sweeper.n_trials=10", "hydra.sweep.dir=s") == 0
    assert len(records()) == len(study().trials) == 10
    assert records()[:8] == ended


def test_a_recipe_that_cannot_be_derived_costs_no_result(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> str:
        raise AttributeError("no such thing")

    monkeypatch.setattr("mnist_lab.sweeps.sweeper.write_best", fail)
    assert sweep("seed=1,2", "hydra.sweep.dir=s") == 0
    printed = capsys.readouterr().out
    assert "best trials" in printed
    assert "train the best again" not in printed


@pytest.mark.thorough
def test_several_objectives(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    dims = "model.hidden_dims=choice([2],[4],[8])"
    objectives = "hydra.sweeper.objectives={num_params:min}"
    search = ["hydra.sweeper.sampler=tpe", "hydra.sweeper.n_trials=4"]
    assert sweep("model=mlp", dims, "seed=0,1", objectives, *search, "hydra.sweep.dir=s") == 0
    assert [direction.name for direction in study().directions] == ["MAXIMIZE", "MINIMIZE"]
    for record in records():
        assert record.values == [record.metrics["val/acc"], record.metrics["num_params"]]
    assert "trials that none beats in every objective" in capsys.readouterr().out


def test_unmeasured_grid(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("data.val_size=0", "seed=1,2", "hydra.sweep.dir=s") == 0
    assert [(record.state, record.values) for record in records()] == [
        (RunState.FINISHED, None)
    ] * 2
    assert sweep("data.val_size=0", "seed=1,2", "hydra.sweep.dir=s") == 0
    out = capsys.readouterr().out
    assert "s: 2 trials, 2 of them done already" in out


def test_shared_storage(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["hydra.sweeper.storage=journal", "hydra.sweeper.study_name=mine"]
    grid = ["seed=range(3)", *shared]
    assert sweep(*grid, "hydra.sweep.dir=s") == 0
    assert sweep(*grid, "hydra.sweep.dir=t") == 0
    assert (len(records()), records("t")) == (3, [])
    out = capsys.readouterr().out  # what the others did is known
    assert "3 trials: 3 finished" in out
    assert len(re.findall(r"^ *0,1,2 .* 3 .*%", out, re.M)) == 2
    assert main(["train", "-m", *SOFTMAX, "seed=range(4)", *shared, "hydra.sweep.dir=u"]) == 2
    assert "mine in" in capsys.readouterr().err


def test_shared_storage_of_an_unmeasured_grid(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["data.val_size=0", "seed=1,2", "hydra.sweeper.storage=journal"]
    grid.append("hydra.sweeper.study_name=mine")
    assert sweep(*grid, "hydra.sweep.dir=s") == 0
    assert sweep(*grid, "hydra.sweep.dir=t") == 0
    captured = capsys.readouterr()
    assert captured.out.count("2 trials: 2 finished") == 2
    assert captured.err == ""


@pytest.mark.thorough
@pytest.mark.parametrize("storage", ["sqlite:///s/study.db", "s/journal"])
def test_a_storage_in_the_sweeps_own_directory(sweep: Sweep, storage: str) -> None:
    named = [f"hydra.sweeper.storage={storage}", "hydra.sweeper.study_name=mine"]
    assert sweep("trainer.fast_dev_run=true", "seed=1,2", *named, "hydra.sweep.dir=s") == 0
    assert len(records()) == 2


@pytest.mark.parametrize("name", sorted(path.stem for path in Path("conf/sweep").glob("*.yaml")))
@pytest.mark.slow
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
    assert {record.state for record in records()} <= {RunState.FINISHED, RunState.PRUNED}
