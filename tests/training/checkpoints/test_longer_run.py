"""A run goes further: more epochs or steps than it was begun with."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from door import call

from mnist_lab.files.checkpoint import read_checkpoint, sha256_of
from mnist_lab.runs.directory import BEST, CONFIG, LAST, METRICS
from mnist_lab.runs.manifest import read_manifest

SHORT = (
    "model=mlp model.hidden_dims=[8] model.dropout=0.2 trainer=cpu trainer.limit_train_batches=6 "
    "trainer.limit_val_batches=1 trainer.limit_test_batches=1 trainer.log_every_n_steps=4 "
    "logger=none ~callbacks.pictures ~callbacks.progress trainer.enable_model_summary=false "
    "callbacks.checkpoint.every_n_seconds=null scheduler=none"
)
_EMA = "+callbacks.x._target_=lightning.pytorch.callbacks.EMAWeightAveraging "
_STOPS = "callbacks=early_stopping callbacks.early_stopping.patience=0 optimizer.lr=1e-12 "
_OTHERS = ("cosine", "warmup_cosine")


def train(folder: Path, name: str, options: str) -> Path:
    done = call(f"train {SHORT} {options} hydra.run.dir={name}", folder)
    assert done.returncode == 0, done.stderr
    return folder / name


def figures(run_dir: Path) -> dict[str, Any]:
    metrics = json.loads((run_dir / METRICS).read_text())
    left_out = [name for name in metrics if name.startswith("time/")]
    return {key: value for key, value in metrics.items() if key not in left_out}


def hashes(run_dir: Path) -> dict[str, str]:
    """Return hashes of all that a run has come to, besides its times."""
    last, best = read_checkpoint(run_dir / LAST), read_checkpoint(run_dir / BEST)
    names = ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch")
    state = last["mnist_lab"]
    last["state"] = [state[name] for name in ("epoch", "batch", "total_batches", "logged_steps")]
    last["random"] = [rank["random"] for rank in state["ranks"]]
    return {name: sha256_of(last[name]) for name in (*names, "state", "random")} | {
        "best": sha256_of(best["state_dict"]),
        **read_manifest(run_dir)["sha256"],
    }


def resume(run_dir: Path, *lengths: str) -> subprocess.CompletedProcess[str]:
    words = " ".join(f"trainer.{length}" for length in lengths)
    return call(f"resume {run_dir.name} {words}", run_dir.parent)


EXACT = {
    "epochs": (
        "trainer.max_epochs=2 scheduler=exponential callbacks=early_stopping",
        "max_epochs=4",
        "its 12 steps stay",
    ),
    "steps within an epoch": (
        "trainer.max_epochs=-1 trainer.max_steps=10",
        "max_steps=15",
        "trains again from step 6 of 10",
    ),
    "steps of one epoch": (
        "trainer.max_epochs=-1 trainer.max_steps=3",
        "max_steps=8",
        "trains again from step 0 of 3",
    ),
    "averaged weights": (f"trainer.max_epochs=2 {_EMA}", "max_epochs=3", "from step 6 of 12"),
    "from epochs to steps": (
        "trainer.max_epochs=2",
        "max_epochs=-1 trainer.max_steps=15",
        "its 12 steps stay",
    ),
}
SLOW = ("averaged weights", "from epochs to steps")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in EXACT]
)
def test_is_the_longer_run(name: str, tmp_path: Path) -> None:
    options, longer, told = EXACT[name]
    run_dir = train(tmp_path, "run", options)
    done = resume(run_dir, longer)
    assert done.returncode == 0, done.stderr
    assert f"run: goes further, trainer.{longer.partition('=')[0]}=" in done.stdout
    assert told in done.stdout
    assert "it is a run of that length, bit for bit" in done.stdout
    whole = train(tmp_path, "whole", f"{options} trainer.{longer}")
    assert hashes(run_dir) == hashes(whole)
    assert figures(run_dir) == figures(whole)
    assert (run_dir / CONFIG).read_text() == (whole / CONFIG).read_text()


@pytest.mark.thorough
def test_any_command_holds_afterwards(tmp_path: Path) -> None:
    run_dir = train(tmp_path, "run", "trainer.max_epochs=1 logger=tensorboard")
    done = call(
        f"train {SHORT} logger=tensorboard trainer.max_epochs=2 hydra.run.dir=run", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "goes further, trainer.max_epochs=2 instead of 1: its 6 steps stay" in done.stdout
    before = hashes(run_dir)
    for words in ("resume run", "resume run trainer.max_epochs=2"):
        again = call(words, tmp_path)
        assert "finished already" in again.stdout
    assert hashes(run_dir) == before
    run_dir.rename(tmp_path / "moved")
    assert call("evaluate moved trainer.limit_val_batches=1", tmp_path).returncode == 0
    verified = call("verify moved", tmp_path)
    assert verified.returncode == 0, verified.stderr
    shorter = call(
        f"train {SHORT} logger=tensorboard trainer.max_epochs=1 hydra.run.dir=moved", tmp_path
    )
    assert shorter.returncode == 2
    assert "trainer.max_epochs=2 there, 1 here" in shorter.stderr


@pytest.mark.parametrize(
    "schedule", ["one_cycle", *(pytest.param(name, marks=pytest.mark.slow) for name in _OTHERS)]
)
def test_a_schedule_over_the_run_goes_on_as_over_the_new_length(
    schedule: str, tmp_path: Path
) -> None:
    options = f"scheduler={schedule} trainer.max_epochs="
    run_dir, whole = train(tmp_path, "run", f"{options}2"), train(tmp_path, "whole", f"{options}4")
    done = resume(run_dir, "max_epochs=4")
    assert done.returncode == 0, done.stderr
    assert f"its 12 steps stay, and from there on scheduler={schedule} is" in done.stdout
    ends = [read_checkpoint(folder / LAST) for folder in (run_dir, whole)]
    rates = [sha256_of(end["lr_schedulers"]) for end in ends]
    assert rates[0] == rates[1]
    assert hashes(run_dir)["state_dict"] != hashes(whole)["state_dict"]
    assert read_manifest(run_dir)["further"][0]["is_exact"] is False


def test_early_stopping_ends_a_longer_run_too(tmp_path: Path) -> None:
    run_dir = train(tmp_path, "run", f"{_STOPS} trainer.max_epochs=5")
    before = hashes(run_dir)
    done = resume(run_dir, "max_epochs=9")
    assert done.returncode == 0, done.stderr
    assert "what ended it at step 12 ends a longer run there too" in done.stdout
    assert "finished already" in done.stdout
    assert hashes(run_dir) == before
    assert "max_epochs: 9" in (run_dir / CONFIG).read_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("finished"), "run", "trainer.max_epochs=2")


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("length", "line"),
    [
        ("max_epochs=1", "trainer.max_epochs=1: must be more than the 2 epochs that run has done"),
        ("max_steps=11", "trainer.max_steps=11: must be more than the 12 steps that run has done"),
        ("max_epochs=0", "trainer.max_epochs=0: must be at least 1"),
        ("max_epochs=many", "trainer.max_epochs=many"),
        ("max_epochs=3,4", "several values are a sweep"),
        ("max_time=00:00:00:10", "trainer.max_time=00:00:00:10: not taken; a run's own config"),
        ("precision=16-true", "only trainer.max_epochs and trainer.max_steps may be given"),
    ],
)
def test_what_is_refused_changes_nothing(length: str, line: str, run_dir: Path) -> None:
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    done = resume(run_dir, length)
    assert (done.returncode, line in done.stderr) == (2, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
    after = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert {path for path in after if path.name != "train.log"} == {
        path for path in before if path.name != "train.log"
    }
    assert all(after[path] == before[path] for path in before if path.name != "train.log")


def test_a_trial_of_a_sweep_stays(run_dir: Path) -> None:
    (run_dir.parent / "sweep.json").write_text("{}")
    done = resume(run_dir, "max_epochs=3")
    assert (done.returncode, "is a trial of a sweep" in done.stderr) == (2, True)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(
    ("place", "again"),
    [
        ("manifest.update_manifest", "max_epochs=3"),
        ("remove", ""),
        ("write_checkpoint", "max_epochs=3"),
        ("directory.write", ""),
        ("directory.write", "max_epochs=3"),
    ],
)
def test_killed_while_it_changes(
    place: str, again: str, run_dir: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"mnist_lab.training.checkpoints.longer_run.{place}", die)
        with pytest.raises(KeyboardInterrupt):
            resume(run_dir, "max_epochs=3")
    done = resume(run_dir, *filter(None, [again]))
    assert done.returncode == 0, done.stderr
    if again:
        assert figures(run_dir)["steps"] == 18
    else:
        assert hashes(run_dir)["state_dict"] == hashes(finished)["state_dict"]
        assert figures(run_dir) == figures(finished)
