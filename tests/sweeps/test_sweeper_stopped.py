"""Sweeps that are stopped, killed or shared by processes."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from door import COMMAND
from sqlalchemy.exc import OperationalError
from sweeping import HALVING, SOFTMAX, TPE, TROUBLED, records, study

from mnist_lab.cli.main import main
from mnist_lab.runs.directory import MANIFEST
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.records import Record

pytestmark = pytest.mark.usefixtures("mnist_files", "elsewhere")

GRID = ["optimizer.lr=1e-3,1e-2,3e-2,1e-1", "seed=range(5)"]


@pytest.mark.slow
def test_sweep_that_a_signal_stops() -> None:
    arguments = ["train", "-m", *SOFTMAX, "seed=range(6)", "hydra.sweep.dir=s"]
    with subprocess.Popen(
        [COMMAND, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        _wait(lambda: num_done("s") >= 2)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=300)
    assert process.returncode == 143
    assert "stopped by SIGTERM" in error
    assert main(arguments) == 0
    assert [record.state for record in records()] == [RunState.FINISHED] * 6


@pytest.mark.thorough
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
    saved = [Path(f"s/{number}/checkpoints/last.ckpt") for number in (0, 1)]
    with subprocess.Popen([COMMAND, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            _wait(lambda: all(path.exists() for path in saved))
            before = time.time()  # the next save that no signal asks for would be 5 seconds later
            process.send_signal(signal.SIGTERM)
            _, error = process.communicate(timeout=300)
        finally:
            process.kill()  # which does nothing where it has ended
    assert process.returncode == 143
    assert "stopped with 0 of 2 trials done" in error
    assert "Traceback" not in error
    for path in saved:
        assert path.stat().st_mtime > before - 0.1  # clocks of files are coarse
        assert json.loads((path.parents[1] / MANIFEST).read_text())["state"] == "interrupted"
    assert {record.state for record in records()} == {RunState.INTERRUPTED}


FULL = """\
import lightning as L
from hydra.core.hydra_config import HydraConfig
class Trouble(L.Callback):
    def on_train_end(self, trainer, pl_module):
        if HydraConfig.get().job.num == 1:
            raise OSError(28, "No space left on device", "last.ckpt")
"""


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("launcher", ["basic", "fused", "parallel hydra.launcher.workers=1"])
def test_a_full_disk_stops_a_sweep(
    launcher: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    Path("trouble.py").write_text(FULL)
    words = [*TROUBLED, "seed=range(4)", "hydra.sweep.dir=s", *f"hydra/launcher={launcher}".split()]
    assert main(["train", "-m", *SOFTMAX, *words]) == 5
    hint, error = capsys.readouterr().err.splitlines()[-2:]
    assert "stopped with 1 of 4 trials done; resume with the same command" in hint
    assert error.startswith(
        "mnist-lab train: last.ckpt: cannot be written: No space left on device"
    )
    ended = records()
    assert [record.state for record in ended[:2]] == [RunState.FINISHED, RunState.INTERRUPTED]
    assert all(record.attempts == 0 for record in ended[2:])
    Path("trouble.py").write_text(FULL.replace("== 1", "== 5"))
    sys.modules.pop("trouble", None)
    assert main(["train", "-m", *SOFTMAX, *words]) == 0
    assert [record.attempts for record in records()] == [1, 2, 1, 1]


def test_a_full_disk_stops_a_stack(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> list[int]:
        raise OSError(28, "No space left on device", "last.ckpt")

    words = ["train", "-m", *SOFTMAX, "seed=1,2", "hydra.sweep.dir=s", "hydra/launcher=fused"]
    with monkeypatch.context() as patch:
        patch.setattr("mnist_lab.training.stacked.train._Guide.on_epoch_end", full)
        assert main(words) == 5
    assert "one by one" not in capsys.readouterr().out
    assert [record.state for record in records()] == [RunState.INTERRUPTED] * 2
    assert main(words) == 0
    assert [record.attempts for record in records()] == [2, 2]


@pytest.mark.parametrize(
    ("write", "done"),
    [
        ("create_new_trial", 0),
        ("set_trial_intermediate_value", 0),
        ("set_trial_state_values", 1),
    ],
)
def test_a_storage_that_is_lost_stops_a_sweep(
    write: str, done: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise OperationalError("UPDATE", {}, Exception("server closed the connection\n\tlong"))

    search = [*TPE, "trainer.max_epochs=2", "hydra.sweeper.pruner=median"]
    words = ["train", "-m", *SOFTMAX, *search, "hydra.sweeper.n_trials=2", "hydra.sweep.dir=s"]
    with monkeypatch.context() as patch:
        patch.setattr(f"optuna.storages.RDBStorage.{write}", lost)
        assert main(words) == 5
    hint, error = capsys.readouterr().err.splitlines()
    assert f"stopped with {done} of 2 trials done" in hint
    assert error.endswith(
        "study.db: cannot be used: (builtins.Exception) server closed the connection"
    )
    assert main(words) == 0
    assert [record.state for record in records()] == [RunState.FINISHED] * 2


@pytest.mark.slow
def test_two_processes_share_a_sweep() -> None:
    grid = ["optimizer.lr=1e-3,1e-2,1e-1", "seed=1,2,3"]
    command = [COMMAND, "train", "-m", *SOFTMAX, *grid, "hydra.sweep.dir=s"]
    with contextlib.ExitStack() as stack:  # closes the pipes whatever comes of it
        processes = [
            stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            )
            for _ in range(2)
        ]
        _wait(lambda: len({record.owner for record in safely_read("s")}) == 2)
        errors = [process.communicate(timeout=300)[1] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], errors
    assert [(record.state, record.attempts) for record in records()] == [(RunState.FINISHED, 1)] * 9
    assert [trial.state.name for trial in study().trials] == ["COMPLETE"] * 9


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
    assert [outcome("s", record) for record in records("s")] == [
        outcome("alone", record) for record in records("alone")
    ]
    assert len(records("s")) == 20
    assert all(record.is_final for record in records("s"))
    assert all(trial.state.is_finished() for trial in study("s").trials)
    shutil.rmtree("s")


def outcome(folder: str, record: Record) -> tuple[Any, ...]:
    """Return what must not depend on when a sweep was killed."""
    metrics = {k: v for k, v in record.metrics.items() if not k.startswith("time/")}
    weights: dict[str, str] = {}
    if record.state == RunState.FINISHED:
        manifest = json.loads(Path(folder, str(record.directory), MANIFEST).read_text())
        weights = manifest["sha256"]
    return (record.params, record.state, record.values, record.error, metrics, weights)


def num_done(folder: str) -> int:
    return sum(record.is_final for record in safely_read(folder))


def safely_read(folder: str) -> list[Record]:
    return records(folder) if Path(folder, "ledger").is_dir() else []


def _wait(condition: Callable[[], bool], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
