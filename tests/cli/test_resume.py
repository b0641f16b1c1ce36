"""A run that was stopped goes on to the same bits, by ``resume`` and by its own command again."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest
import torch
from door import COMMAND, call

from mnist_lab.files.checkpoint import read_checkpoint, sha256_of
from mnist_lab.runs.directory import CONFIG, LAST, MANIFEST, METRICS, PREVIOUS

OPTIONS = (
    "trainer=cpu model.hidden_dims=[32] model.dropout=0.3 data.augment=affine "
    "trainer.max_epochs=2 trainer.limit_train_batches=60 trainer.log_every_n_steps=20 "
    "trainer.enable_model_summary=false callbacks.checkpoint.every_n_steps=5 "
    "~callbacks.pictures"
)
LONG = OPTIONS.replace("max_epochs=2", "max_epochs=500")


def stopped(folder: Path, signum: int, options: str = LONG, **environment: str) -> str:
    """Start a run in ``folder / "run"``, stop it after its first epoch; return what it printed."""
    process = subprocess.Popen(
        [COMMAND, "train", *options.split(), "hydra.run.dir=run"],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch 1/"):
        assert process.poll() is None
    process.send_signal(signum)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == (-9 if signum == signal.SIGKILL else 128 + signum), errors
    return output + errors


def figures(run_dir: Path) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((run_dir / METRICS).read_text())
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def manifest(run_dir: Path) -> dict:
    return json.loads((run_dir / MANIFEST).read_text())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    done = call(f"train {OPTIONS} hydra.run.dir=run", folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that a SIGKILL has ended after its first epoch."""
    folder = tmp_path_factory.mktemp("killed")
    stopped(folder, signal.SIGKILL, OPTIONS.replace("max_epochs=2", "max_epochs=40"))
    return folder / "run"


@pytest.fixture
def broken_off(killed: Path, tmp_path: Path) -> Path:
    """A copy of it, in another place."""
    shutil.copytree(killed, tmp_path / "run")
    return tmp_path / "run"


def shorten(run_dir: Path) -> None:
    """Leave it one epoch to go."""
    for path in (run_dir / CONFIG, run_dir / MANIFEST):
        path.write_text(re.sub(r'(max_epochs"?: )40', r"\g<1>2", path.read_text()))


@pytest.mark.parametrize(
    "command",
    ["resume run", pytest.param(f"train {OPTIONS} hydra.run.dir=run", marks=pytest.mark.slow)],
)
def test_goes_on_to_the_same_bits(command: str, unbroken: Path, tmp_path: Path) -> None:
    child = Path(__file__).parents[2] / "scripts" / "crash_rows" / "child.py"
    dying = subprocess.run(
        [COMMAND.parent / "python", child, "train", *OPTIONS.split(), "hydra.run.dir=run"],
        cwd=tmp_path,
        env=os.environ | {"CRASH_AT": "replace:6"},
        capture_output=True,
        timeout=300,
    )
    assert dying.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / LAST).exists()  # it was between its two names
    (tmp_path / "run").rename(tmp_path / "moved")
    done = call(command.replace("run", "moved") if "resume" in command else command, tmp_path)
    if "train" in command:  # a directory that is free is a new run's
        assert done.returncode == 0
        (tmp_path / "run").rename(tmp_path / "fresh")
        (tmp_path / "moved").rename(tmp_path / "run")
        done = call(command, tmp_path)
        (tmp_path / "run").rename(tmp_path / "moved")
    assert done.returncode == 0, done.stderr
    assert "resumes from step" in done.stdout + done.stderr
    run_dir = tmp_path / "moved"
    assert manifest(run_dir)["sha256"] == manifest(unbroken)["sha256"]
    assert figures(run_dir) == figures(unbroken)
    first, second = manifest(run_dir)["attempts"]
    assert (first["from_step"], second["from_step"] > 0) == (0, True)
    assert second["state"] == "finished"


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_step_that_it_came_in(signum: int, tmp_path: Path) -> None:
    rare = LONG.replace("every_n_steps=5", "every_n_steps=100000")
    printed = stopped(tmp_path, signum, rare)
    assert "Traceback" not in printed
    assert printed.splitlines()[-1] == f"mnist-lab train: stopped by {signal.Signals(signum).name}"
    assert "to resume the run from here: mnist-lab resume run" in printed
    assert manifest(tmp_path / "run")["state"] == "interrupted"
    saved = read_checkpoint(tmp_path / "run" / LAST)["mnist_lab"]
    assert saved["step"] >= 60


@pytest.mark.thorough
def test_slurm_gets_its_job_back(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {asked}\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IEXEC)
    path = f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}"
    printed = stopped(tmp_path, signal.SIGUSR1, PATH=path, SLURM_JOB_ID="1234")
    assert asked.read_text() == "requeue 1234\n", printed
    assert (tmp_path / "run" / LAST).exists()


@pytest.mark.thorough
def test_a_damaged_checkpoint_gives_way_to_the_one_before(broken_off: Path) -> None:
    content = bytearray((broken_off / LAST).read_bytes())
    content[len(content) // 2] ^= 1
    (broken_off / LAST).write_bytes(content)
    shorten(broken_off)
    done = call(f"resume {broken_off}", broken_off.parent)
    assert done.returncode == 0, done.stderr
    assert "last.ckpt: corrupt: the checksum of" in done.stdout
    assert f"resuming from {broken_off / PREVIOUS}" in done.stdout
    read_checkpoint(broken_off / LAST)  # a new one
    assert (broken_off / "checkpoints" / "damaged.ckpt").exists()


def test_says_what_is_not_as_it_was(broken_off: Path) -> None:
    text = (broken_off / MANIFEST).read_text()
    changed = json.loads(text)
    changed["versions"]["torch"] = "2.0.0"
    changed["threads"] = 7
    (broken_off / MANIFEST).write_text(json.dumps(changed))
    shorten(broken_off)
    done = call(f"resume {broken_off}", broken_off.parent)
    assert done.returncode == 0, done.stderr
    assert "started with threads 7, now 1; versions.torch 2.0.0, now" in done.stdout
    assert "not to the same bits" in done.stdout


def test_devices_may_change_and_settings_may_not(broken_off: Path) -> None:
    options = OPTIONS.replace("max_epochs=2", "max_epochs=40").replace("trainer=cpu ", "")
    command = f"train {options} hydra.run.dir=run optimizer.lr=0.5"
    refused = call(command, broken_off.parent)
    assert refused.returncode == 2
    assert "optimizer.lr=0.003 there, 0.5 here" in refused.stderr
    before = sha256_of(torch.load(broken_off / LAST, weights_only=True)["state_dict"])
    assert before == sha256_of(read_checkpoint(broken_off / LAST)["state_dict"])


@pytest.mark.thorough
def test_before_the_first_checkpoint_it_starts_and_says_so(tmp_path: Path, unbroken: Path) -> None:
    child = Path(__file__).parents[2] / "scripts" / "crash_rows" / "child.py"
    subprocess.run(
        [COMMAND.parent / "python", child, "train", *OPTIONS.split(), "hydra.run.dir=run"],
        cwd=tmp_path,
        env=os.environ | {"CRASH_AT": "write:1"},
        capture_output=True,
        timeout=300,
    )
    done = call("resume run", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "stopped before its first checkpoint; starts again" in done.stdout + done.stderr
    assert manifest(tmp_path / "run")["sha256"] == manifest(unbroken)["sha256"]
    assert not list((tmp_path / "run").rglob(".*.partial"))


def test_a_finished_run_shows_its_result(unbroken: Path) -> None:
    done = call(f"resume {unbroken}", unbroken.parent)
    assert (done.returncode, "finished already" in done.stdout) == (0, True)
    assert "test" in done.stdout
