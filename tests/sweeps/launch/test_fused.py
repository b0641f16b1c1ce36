"""``hydra/launcher=fused`` leaves for each trial what the trial alone would have left."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from door import COMMAND, FEW_BATCHES, call
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_lab import compose
from mnist_lab.cli.main import main
from mnist_lab.errors import Stopped
from mnist_lab.files.checkpoint import read_checkpoint
from mnist_lab.runs import signals
from mnist_lab.runs.directory import LAST, MANIFEST, METRICS, PROGRESS
from mnist_lab.sweeps.launch.fused import Job, _groups, _reason_in_config
from mnist_lab.training import progress_file
from mnist_lab.training.progress_file import StackHeartbeat
from mnist_lab.training.stacked.run import StackedRun
from mnist_lab.training.stacked.train import _Guide

TRIALS = (
    "-m model=mlp model.hidden_dims=[32] model.dropout=0.3 optimizer.lr=1e-3,3e-2 seed=1,2 "
    "trainer=cpu trainer.max_epochs=3 trainer.limit_train_batches=30 trainer.limit_val_batches=2 "
    "trainer.log_every_n_steps=10 callbacks=early_stopping callbacks.early_stopping.patience=0 "
    "data.augment=affine ~callbacks.pictures"
)


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    for launcher in ("basic", "fused"):
        done = call(f"train {TRIALS} hydra/launcher={launcher} hydra.sweep.dir={launcher}", folder)
        assert done.returncode == 0, done.stderr
        assert "one by one" not in done.stdout + done.stderr
    return folder


def figures(run_dir: Path) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((run_dir / METRICS).read_text())
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def scalars(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the points of the curves that do not depend on the clock."""
    curves = EventAccumulator(str(run_dir)).Reload()
    names = set(curves.Tags()["scalars"]) - {"train/time_epoch"}
    return {name: [(point.step, point.value) for point in curves.Scalars(name)] for name in names}


@pytest.mark.parametrize("number", range(4))
def test_a_trial_is_what_it_is_alone(number: int, sweeps: Path) -> None:
    alone, stacked = (sweeps / launcher / str(number) for launcher in ("basic", "fused"))
    one, other = (json.loads((run_dir / MANIFEST).read_text()) for run_dir in (alone, stacked))
    assert other["sha256"] == one["sha256"]  # of the best weights, the last and the optimizer
    assert (other["state"], other["data"]) == ("finished", one["data"])
    assert figures(stacked) == figures(alone)
    first, second = (read_checkpoint(run_dir / LAST) for run_dir in (alone, stacked))
    assert second["hyper_parameters"] == first["hyper_parameters"]
    assert second["mnist_lab"]["step"] == first["mnist_lab"]["step"]
    points = scalars(stacked)
    for name, its_points in scalars(alone).items():
        assert points[name] == its_points, name


def test_its_directory_is_an_ordinary_runs(sweeps: Path) -> None:
    evaluated = call("evaluate fused/3 --json", sweeps)
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["test/acc"] == figures(sweeps / "fused" / "3")["test/acc"]
    again = call("resume fused/3", sweeps)
    assert (again.returncode, "finished already" in again.stdout) == (0, True)


@pytest.mark.slow
def test_it_is_verified_alone(sweeps: Path) -> None:
    verified = call("verify fused/3", sweeps)
    assert verified.returncode == 0, verified.stderr


CNNS = (
    "train -m model=cnn model.channels=[2,2] model.hidden_dims=[4] seed=1,2 trainer=cpu "
    "trainer.max_epochs=3 trainer.limit_train_batches=10 trainer.limit_val_batches=1 "
    "trainer.limit_test_batches=1 trainer.precision=32-true logger=none optimizer.lr=1e-3 "
    "~callbacks.pictures callbacks.checkpoint.every_n_seconds=0 hydra/launcher=fused "
    "scheduler=cosine"
)


@pytest.mark.thorough
def test_what_cannot_be_stacked_runs_one_by_one(tmp_path: Path) -> None:
    done = call(f"{CNNS} hydra.launcher.stack=exact hydra.sweep.dir=s", tmp_path)
    assert done.returncode == 0, done.stderr
    printed = done.stdout + done.stderr
    assert "2 trials run one by one: CNN is not stacked exactly, only MLP and" in printed
    assert {(tmp_path / "s" / name / METRICS).exists() for name in "01"} == {True}


def test_a_stack_of_cnns_leaves_ordinary_runs(tmp_path: Path) -> None:
    done = call(f"{CNNS} hydra.sweep.dir=s", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one by one" not in done.stdout + done.stderr
    assert call(f"{CNNS} hydra/launcher=basic hydra.sweep.dir=b", tmp_path).returncode == 0
    for number in "01":
        stacked, alone = (tmp_path / name / number for name in "sb")
        assert json.loads((stacked / MANIFEST).read_text())["stack"] == "torch.func"
        assert figures(stacked) == pytest.approx(figures(alone), rel=1e-3, abs=3e-3)
        one, other = (read_checkpoint(run_dir / LAST) for run_dir in (stacked, alone))
        assert one["state_dict"].keys() == other["state_dict"].keys()
        for name, tensor in one["state_dict"].items():
            torch.testing.assert_close(tensor, other["state_dict"][name], rtol=1e-2, atol=1e-4)
            assert tensor.stride() == other["state_dict"][name].stride()
    evaluated = call("evaluate s/1 --json", tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr


@pytest.mark.parametrize(("model", "stacks"), [("mlp", 1), ("cnn", 2)])
@pytest.mark.parametrize(
    "differing",
    [
        ["model.dropout=0.1", "model.dropout=0.2"],
        [
            f"model.dropout=0.1 +callbacks.phases._target_=mnist_lab.training.Phases "
            f"+callbacks.phases.phases=[{{epoch:1,model.dropout:{rate}}}]"
            for rate in (0.2, 0.3)
        ],
    ],
)
def test_dropout_may_differ_in_an_exact_stack(
    model: str, stacks: int, differing: list[str], tmp_path: Path
) -> None:
    jobs = []
    for number, words in enumerate(differing):
        config = compose(f"model={model}", *words.split())
        config.run_dir = str(tmp_path / str(number))
        jobs.append(Job(number, [], config))
    assert len(_groups(jobs)) == stacks


@pytest.mark.parametrize(
    ("name", "target", "is_stacked"),
    [
        ("early_stopping", "lightning.pytorch.callbacks.early_stopping.EarlyStopping", True),
        ("early_stopping", "own_callbacks.Stop", False),
        ("progress", "lightning.pytorch.callbacks.RichProgressBar", True),
        ("progress", "own_callbacks.Noise", False),
        ("pictures", "own_callbacks.Noise", False),
    ],
)
def test_a_callback_goes_by_its_class(
    name: str, target: str, is_stacked: bool, tmp_path: Path
) -> None:
    config = compose("callbacks=early_stopping")
    config.run_dir = str(tmp_path)
    config.callbacks[name] = {"_target_": target}
    reason = _reason_in_config(Job(0, [], config))
    assert reason == (None if is_stacked else f"callbacks.{name}._target_={target} is not stacked")


@pytest.mark.thorough
def test_verify_says_that_a_stack_of_cnns_is_equal_up_to_rounding(tmp_path: Path) -> None:
    assert call(f"{CNNS} hydra.sweep.dir=s", tmp_path).returncode == 0
    verified = call("verify s/0", tmp_path)
    assert verified.returncode == 1
    assert "note: the run is a trial of a stack by torch.func" in verified.stderr


KILLED = f"""
import os, signal, sys
from mnist_lab.cli.main import main
from mnist_lab.training.stacked.run import StackedRun
save = StackedRun.save
def killed(run, state, batches, is_finished):
    save(run, state, batches, is_finished)
    if state.steps == 10 and run.config.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
StackedRun.save = killed
main({CNNS.split()!r} + sys.argv[1:])
"""


@pytest.mark.thorough
def test_a_stack_of_cnns_that_was_killed_is_resumed(tmp_path: Path) -> None:
    more = ["model.dropout=0.3", "model.batch_norm=true"]
    whole = call(f"{CNNS} {' '.join(more)} hydra.sweep.dir=whole", tmp_path)
    assert whole.returncode == 0, whole.stderr
    arguments = [*more, "hydra.sweep.dir=killed"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    done = call(f"{CNNS} {' '.join(arguments)}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one by one" not in done.stdout + done.stderr
    for number in "01":
        one, other = (
            json.loads((tmp_path / name / number / MANIFEST).read_text())
            for name in ("whole", "killed")
        )
        assert [attempt["from_step"] for attempt in other["attempts"]] == [0, 10]
        assert other["sha256"] == one["sha256"]


@pytest.mark.thorough
def test_an_error_is_that_of_the_trials_that_make_it(tmp_path: Path) -> None:
    done = call(
        "train -m model=mlp model.hidden_dims=[8] scheduler=one_cycle scheduler.pct_start=0.1,0.5 "
        "seed=1,2 trainer=cpu trainer.max_epochs=1 trainer.limit_train_batches=10 "
        "trainer.limit_val_batches=1 trainer.limit_test_batches=1 hydra/launcher=fused "
        "hydra.sweep.dir=s",
        tmp_path,
    )
    assert done.returncode == 1, done.stderr
    printed = done.stdout + done.stderr
    assert "4 trials run one by one: their stack could not be trained: scheduler.pct" in printed
    assert "4 trials: 2 finished, 2 failed" in done.stdout
    assert done.stderr.count("ConfigError: scheduler.pct_start=0.1: is one step") == 2
    assert [(tmp_path / "s" / name / METRICS).exists() for name in "0123"] == [False] * 2 + [
        True
    ] * 2


DIVERGING = (
    "train -m model=mlp model.hidden_dims=[8] model.init=normal optimizer=sgd scheduler=none "
    "optimizer.lr=0.1,1e30 seed=1,2 trainer=cpu logger=none trainer.limit_train_batches=5 "
    "trainer.limit_val_batches=1 trainer.limit_test_batches=1 hydra/launcher=fused "
    "hydra.sweep.dir=s"
)


def test_one_that_diverges_leaves_and_the_others_go_on(tmp_path: Path) -> None:
    done = call(f"{DIVERGING} trainer.max_epochs=2", tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count(": diverged: ") == 2, done.stderr
    states = [json.loads((tmp_path / "s" / name / MANIFEST).read_text()) for name in "0123"]
    assert [(tmp_path / "s" / name / METRICS).exists() for name in "0123"] == [True] * 2 + [
        False
    ] * 2
    assert [one["state"] for one in states] == ["finished"] * 2 + ["failed"] * 2
    assert states[2]["error"].startswith("Diverged: diverged: ")


@pytest.mark.thorough
def test_a_signal_leaves_what_has_ended_as_it_ended(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [COMMAND, *shlex.split(DIVERGING), "trainer.max_epochs=1000000"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    records = [tmp_path / "s" / "ledger" / f"0000{number}.json" for number in range(4)]
    try:
        while process.poll() is None and not all(
            path.exists() and json.loads(path.read_text())["state"] == "failed"
            for path in records[2:]
        ):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=300)
    finally:
        process.kill()  # which does nothing where it has ended
    assert process.returncode == 143, error
    manifests = [json.loads((tmp_path / "s" / name / MANIFEST).read_text()) for name in "0123"]
    assert [one["state"] for one in manifests] == ["interrupted"] * 2 + ["failed"] * 2


def test_an_end_while_results_are_written_leaves_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = StackedRun.finish

    def interrupted(run: StackedRun, *arguments: Any) -> dict[str, float]:
        if run.config.seed == 2:
            raise Stopped(signal.SIGTERM)
        return finish(run, *arguments)

    monkeypatch.setattr(StackedRun, "finish", interrupted)
    monkeypatch.chdir(tmp_path)
    arguments = f"train -m model=softmax seed=1,2 {FEW_BATCHES} hydra/launcher=fused"
    assert main([*arguments.split(), "hydra.sweep.dir=s"]) == 143
    manifests = [json.loads((tmp_path / "s" / name / MANIFEST).read_text()) for name in "01"]
    assert [one["state"] for one in manifests] == ["finished", "interrupted"]


def test_slurm_gets_the_job_of_a_stack_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def requeue() -> None:
        ledger = (tmp_path / "s" / "ledger").glob("*.json")
        asked.extend(json.loads(path.read_text())["state"] for path in ledger)

    def signalled(*_: Any) -> list[int]:
        raise Stopped(signal.SIGUSR1)

    monkeypatch.setattr(signals, "requeue", requeue)
    monkeypatch.setattr(_Guide, "on_epoch_end", signalled)
    arguments = f"train -m model=softmax seed=1,2 {FEW_BATCHES} hydra/launcher=fused"
    done = call(f"{arguments} hydra.sweep.dir=s", tmp_path)
    assert done.returncode == 128 + signal.SIGUSR1, done.stderr
    assert asked == ["interrupted"] * 2  # which SLURM may leave no time for


RESUMED = (
    "train -m model=mlp model.hidden_dims=[32] model.dropout=0.3 scheduler=cosine seed=1,2 "
    "optimizer.lr=1e-3,3e-2 optimizer=adam trainer=cpu trainer.max_epochs=5 data.augment=affine "
    "trainer.limit_train_batches=20 trainer.limit_val_batches=2 trainer.log_every_n_steps=10 "
    "callbacks=early_stopping callbacks.early_stopping.patience=2 ~callbacks.pictures "
    "callbacks.checkpoint.every_n_seconds=0 hydra/launcher=fused"
)


@pytest.mark.parametrize("epoch", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_stack_that_was_killed_is_resumed_as_a_stack(
    epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(f"{RESUMED} hydra.sweep.dir=whole", tmp_path).returncode == 0
    on_epoch_end = _Guide.on_epoch_end

    def killed(guide: _Guide, number: int, metrics: Any) -> list[int]:
        if number == epoch:
            raise Stopped(signal.SIGTERM)  # without a save
        return on_epoch_end(guide, number, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(_Guide, "on_epoch_end", killed)
        assert call(f"{RESUMED} hydra.sweep.dir=killed", tmp_path).returncode == 143
    done = call(f"{RESUMED} hydra.sweep.dir=killed", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one by one" not in done.stdout + done.stderr
    for number in range(4):
        whole, resumed = (tmp_path / name / str(number) for name in ("whole", "killed"))
        one, other = (json.loads((run_dir / MANIFEST).read_text()) for run_dir in (whole, resumed))
        assert [attempt["from_step"] for attempt in other["attempts"]] == [0, epoch * 20]
        assert other["sha256"] == one["sha256"]
        assert figures(resumed) == figures(whole)
        assert scalars(resumed) == scalars(whole)


def test_a_stack_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[dict[str, Any]] = []
    write = StackHeartbeat._write

    def kept(self: StackHeartbeat, trainer: Any) -> None:
        write(self, trainer)
        beats.append(json.loads((tmp_path / "s" / PROGRESS).read_text()))

    monkeypatch.setattr(progress_file, "_EVERY", 0.0)
    monkeypatch.setattr(StackHeartbeat, "_write", kept)
    command = "train -m hydra/launcher=fused model=softmax optimizer.lr=1e-4,3e-2 hydra.sweep.dir=s"
    few = FEW_BATCHES.replace("trainer.max_epochs=1", "trainer.max_epochs=2")
    done = call(f"{command} {few}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(beat["epoch"], beat["trials"]) for beat in beats[1:]] == [
        (1, 2),
        (1, 2),
        (2, 2),
        (2, 2),
    ]
    assert beats[0]["metrics"] == beats[2]["metrics"] == {}
    values = [json.loads(path.read_text()) for path in (tmp_path / "s").glob("*/metrics.json")]
    assert beats[-1]["metrics"].keys() == {"best/val/acc"}
    assert beats[-1]["metrics"]["best/val/acc"] <= max(value["val/acc"] for value in values)
    assert not (tmp_path / "s" / PROGRESS).exists()
