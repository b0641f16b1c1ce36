"""W&B offline: of a run that is killed and resumed, each point once, by W&B's own reader."""

import glob
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from door import call
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tracked import EPOCHS, TRAIN, Points, expected, killed

from mnist_lab.config.saved import run_config
from mnist_lab.errors import ConfigError, InputError, Stopped
from mnist_lab.files.tensorboard import tag_of
from mnist_lab.runs.directory import OFFLINE
from mnist_lab.runs.manifest import update_manifest
from mnist_lab.runs.signals import signals_end_run
from mnist_lab.training.loggers.hparams import settings_of
from mnist_lab.training.loggers.wandb import Wandb

pytestmark = [
    pytest.mark.skipif(not find_spec("wandb"), reason="the extra wandb is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what W&B brings
]
METHODS = [
    f"loggers.wandb.Wandb.{name}"
    for name in ("log_metrics", "send", "_open", "_init", "_end", "finalize")
]


def wandb(*words: str) -> str:
    """Return what W&B's own command prints."""
    command = [Path(sys.executable).parent / "wandb", *words]
    environment = os.environ | {"WANDB_ERROR_REPORTING": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def records(run_dir: Path) -> list[dict[str, Any]]:
    """Return what is in the file of a run's only offline run, as W&B's own reader tells it."""
    (path,) = run_dir.glob(f"{OFFLINE}/*.wandb")
    return [json.loads(line) for line in wandb("leet", "inspect", "--json", str(path)).splitlines()]


def of_type(told: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [record[name] for record in told if record["type"] == name]


def values_of(told: list[dict[str, Any]]) -> list[tuple[str, int, float]]:
    """Return the points without W&B's own and the epoch's number that Lightning adds."""
    values = []
    for row in of_type(told, "history"):
        step = row["item"]["trainer/global_step"]
        values += [(name, step, row["item"][name]) for name in row["item"] if name[0] != "_"]
    return [value for value in values if value[0] not in ("epoch", "trainer/global_step")]


def points_of(told: list[dict[str, Any]]) -> Points:
    return Counter((name, step) for name, step, _ in values_of(told))


def check_as_in_tensorboard(run_dir: Path, told: list[dict[str, Any]]) -> None:
    """Check that W&B has the points of the run's event files, with their values, once each."""
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0}).Reload()
    expected = [
        (tag, event.step, event.value)
        for tag in events.Tags()["scalars"]
        for event in events.Scalars(tag)
    ]
    found = [
        (tag_of(name), step, float(np.float32(value))) for name, step, value in values_of(told)
    ]
    assert sorted(found) == sorted(expected)


def listing(folder: Path) -> dict[Path, bytes]:
    """Return what is in a folder's files, less W&B's own logs, which are named by the second."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")
    return {path: path.read_bytes() for path in files}


def services(pids: list[int]) -> list[int]:
    """Return W&B's own processes that processes have left."""
    left = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if "wandb-core" in str(words[0]) and int(words[words.index(b"--pid") + 1]) in pids:
            left.append(int(path.parent.name))
    return left


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "home" / "wandb"))
    (tmp_path / "tmp").mkdir()
    update_manifest_of(tmp_path / "run")


def update_manifest_of(run_dir: Path) -> None:
    run_dir.mkdir()
    update_manifest(run_dir)


def test_each_point_once_whenever_a_process_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A process is gone with its points logged or sent; before its checkpoint is saved or after."""
    lengths: dict[str, int] | None = None
    ids = set()
    done = 0  # steps up to the checkpoint
    for process in range(4):
        logger = Wandb(str(tmp_path / "run"))
        logger.begin({"optimizer.lr": 0.1, "tags": "a b", "note": "why"}, lengths)
        ids.add(logger.version)
        assert not list(filter(Path.is_symlink, (tmp_path / "run").rglob("*")))  # it may be moved
        for step in range(done, 10 if process == 3 else done + 4):
            logger.log_metrics({"train/loss": 1 / (step + 1), "x": float("nan")}, step)
            if step == done + 1:
                lengths = logger.send()
            elif process and step == done + 2:
                logger.send()  # but killed before the checkpoint was saved
        done += 2
        if process < 3:
            logger._end()
    logger.finalize("success")
    logger.close(is_finished=True)
    told = records(tmp_path / "run")
    names = ("train/loss", "x")
    assert points_of(told) == Counter((name, step) for name in names for step in range(10))
    (begun,) = of_type(told, "run")
    assert begun["config"]["update"].items() >= {"optimizer.lr": 0.1, "note": "why"}.items()
    assert (begun["tags"], begun["notes"], begun["display_name"]) == (["a", "b"], "why", "run")
    assert [end["exit_code"] for end in of_type(told, "exit")] == [0]
    assert ids == {begun["run_id"]}
    assert "Would sync 1 run" in wandb("sync", "--dry-run", *glob.glob(f"run/{OFFLINE}"))
    assert services([os.getpid()]) == []
    assert not [path for name in ("home", "tmp") for path in (tmp_path / name).rglob("*wandb*")]
    assert caplog.text == ""


def test_a_run_has_all_that_tensorboard_has_and_says_how_it_is_uploaded(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "run")
    words = "logger.wandb.group=g logger.wandb.run_name=x tags=[a,b] note=why"
    done = call(f"{TRAIN} logger=[tensorboard,wandb] {words}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"wandb sync run/{OFFLINE}" in done.stdout.splitlines()
    assert "wandb: " not in done.stdout + done.stderr
    told = records(tmp_path / "run")
    assert points_of(told) == expected()
    check_as_in_tensorboard(tmp_path / "run", told)
    (begun,) = of_type(told, "run")
    assert (begun["display_name"], begun["notes"], begun["run_group"]) == ("x", "why", "g")
    config = settings_of(run_config(tmp_path / "run", [])) | {"run_dir": str(tmp_path / "run")}
    assert begun["config"]["update"] == config | {"_wandb": {}}
    assert {path.name for path in tmp_path.iterdir()} == {"run", "tmp"}
    assert services([os.getpid()]) == []


KILLED_SERVICE = """\
import os, signal, subprocess, sys
from mnist_lab.training.loggers.hparams import settings_of
from mnist_lab.training.loggers.wandb import Wandb
first, second = Wandb("run"), Wandb("other")
for logger in (first, second):
    logger.begin({}, None)
    logger.log_metrics({"x": 0.0}, 0)
    logger.send()
service = subprocess.check_output(["pgrep", "-P", str(os.getpid()), "wandb-core"])
os.kill(int(service), signal.SIGKILL)
for step in range(1, 3):
    for logger in (first, second):
        logger.log_metrics({"x": 1.0}, step)
        logger.send()
for logger in (first, second):
    logger.close(is_finished=True)
"""


def test_a_stop_before_all_points_are_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = Wandb(str(tmp_path / "run"))
    logger.begin({}, None)
    logger.log_metrics({"x": 1.0}, 1)
    lengths = logger.send()
    logger.close()
    before = listing(tmp_path / "run")
    monkeypatch.setattr(
        "wandb.sdk.wandb_run.Run.log", lambda *_: signal.raise_signal(signal.SIGTERM)
    )
    with pytest.raises(Stopped), signals_end_run():
        Wandb(str(tmp_path / "run")).begin({}, lengths)
    assert listing(tmp_path / "run") == before
    assert points_of(records(tmp_path / "run")) == Counter({("x", 1): 1})
    assert services([os.getpid()]) == []


@pytest.mark.slow
def test_a_run_whose_wandb_process_is_killed_has_each_point_once(tmp_path: Path) -> None:
    update_manifest_of(tmp_path / "other")
    done = subprocess.run(
        [sys.executable, "-c", KILLED_SERVICE], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "tries again later" in done.stderr
    for name in ("run", "other"):
        assert points_of(records(tmp_path / name)) == Counter(("x", step) for step in range(3))


def test_a_name_that_wandb_refuses_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"logger=wandb: Invalid project name 'a/b'"):
        Wandb(str(tmp_path / "run"), project="a/b").begin({}, None)


@pytest.mark.thorough
def test_a_run_that_goes_on_without_its_points_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = Wandb(str(tmp_path / "run"))
    logger.begin({}, {"points.jsonl": 9})
    logger.close()
    assert "logger=wandb: has no such run; what was logged before is not there" in caplog.text


@pytest.mark.parametrize("line", ["[]", "{", '{"x": "a"}', '{"x": 1}', "1"])
def test_a_corrupt_file_of_points_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "run" / "wandb").mkdir()
    (tmp_path / "run" / "wandb" / "points.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"points\.jsonl: not a run's points"):
        Wandb(str(tmp_path / "run")).begin({}, {"points.jsonl": len(line) + 1})
    assert not list((tmp_path / "run").glob(OFFLINE))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("kills", [3, 20])
def test_a_run_that_is_killed_and_resumed_has_each_point_once(tmp_path: Path, kills: int) -> None:
    (tmp_path / "run" / "manifest.json").unlink()
    pids = killed(tmp_path, "logger=[tensorboard,wandb]", METHODS, kills)
    assert services(pids) == []
    told = records(tmp_path / "run")
    assert points_of(told) == expected()
    check_as_in_tensorboard(tmp_path / "run", told)
    (begun,) = of_type(told, "run")
    settings = begun["config"]["update"]
    assert settings.keys() > {"optimizer.lr", "seed", "data.batch_size", "model", "trainer"}
    before = listing(tmp_path / "run" / "wandb")
    assert call("verify run", tmp_path).returncode == 0
    assert listing(tmp_path / "run" / "wandb") == before
    assert not [path for name in ("home", "tmp") for path in (tmp_path / name).rglob("*wandb*")]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "fused"])
def test_trials_that_wait_and_go_on_have_each_point_once(launcher: str, tmp_path: Path) -> None:
    halving = f"hydra.sweeper.pruner=synchronous_halving hydra/launcher={launcher}"
    command = TRAIN.replace("hydra.run.dir=run", "hydra.sweep.dir=sweep seed=1,2,3,4")
    command = command.replace("train", "train -m", 1).replace(
        f"max_epochs={EPOCHS}", "max_epochs=4"
    )
    done = call(f"{command} logger=[tensorboard,wandb] {halving}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stdout
    assert f"to W&B: wandb sync sweep/*/{OFFLINE}" in done.stdout.splitlines()
    for trial in range(4):
        run_dir = tmp_path / "sweep" / str(trial)
        check_as_in_tensorboard(run_dir, records(run_dir))
    assert services([os.getpid()]) == []
