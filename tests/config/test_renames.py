"""Old names: read for good where they are stored, deprecated where they are typed."""

import json
import re
from pathlib import Path

import pytest
from door import FEW_BATCHES, call, run

from mnist_lab.config import renames
from mnist_lab.config.compose import Loader, compose
from mnist_lab.config.renames import Rename
from mnist_lab.config.saved import run_config
from mnist_lab.report.read_runs import read_entry
from mnist_lab.runs.directory import CONFIG, MANIFEST, SWEEP

RATE = Rename("optimizer.rate", "optimizer.lr", "0.2")
CHOICE = Rename("model=linear", "model=softmax", "0.2")
CLASS = renames.RENAMES[0]
LINE = "optimizer.rate: is optimizer.lr since mnist_lab 0.2; write that, as the next version "
LINE += "does not take the old name"
RUN = f"train {FEW_BATCHES} model=softmax hydra.run.dir=run"
SWEEP_COMMAND = f"train -m {FEW_BATCHES} model=softmax hydra.sweep.dir=sweep hydra/launcher=fused"


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renames, "RENAMES", (*renames.RENAMES, RATE, CHOICE))
    monkeypatch.setattr(renames, "__version__", "0.2.7")
    renames._warn.cache_clear()


def test_a_name_has_gone_from_where_its_version_says() -> None:
    version = [int(part) for part in CLASS.since.split(".")]
    assert version <= [0, 2], "a version after this one"


@pytest.mark.parametrize(
    ("typed", "key", "value"),
    [
        ("optimizer.rate=0.5", "optimizer.lr", 0.5),
        ("++optimizer.rate=0.5", "optimizer.lr", 0.5),
        ("model=linear", "model._target_", "mnist_lab.models.SoftmaxRegression"),
        (f"callbacks.checkpoint._target_={CLASS.old}", "callbacks.checkpoint._target_", CLASS.new),
        (f"+callbacks.x={{_target_: {CLASS.old}}}", "callbacks.x._target_", CLASS.new),
    ],
)
def test_a_typed_name_works_and_is_said_once(
    typed: str, key: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        node = compose(typed)
        for part in key.split("."):
            node = node[part]
        assert node == value
    (line,) = caplog.messages
    assert line.endswith("write that, as the next version does not take the old name")


@pytest.mark.thorough
def test_the_command_says_what_to_write(tmp_path: Path) -> None:
    done = run(f"{RUN} callbacks.checkpoint._target_={CLASS.old}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{CLASS.old}: is {CLASS.new} since" in done.stderr
    assert CLASS.new in (tmp_path / "run" / CONFIG).read_text()


def test_the_version_after_refuses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renames, "__version__", "0.3.0")
    done = call(f"{RUN} optimizer.rate=0.5", tmp_path)
    line = "mnist-lab train: optimizer.rate: is optimizer.lr since mnist_lab 0.2; write that\n"
    assert (done.returncode, done.stderr) == (2, line)
    assert not list(tmp_path.iterdir())


def test_a_name_that_only_begins_alike_is_another() -> None:
    for text in ("optimizer.rates=1", "x.optimizer.rate=1", "model=linear_2", "seed=1"):
        assert renames.renamed(text) == text
    searched = renames.renamed("hydra.sweeper.params.optimizer.rate=1,2")
    assert searched == "hydra.sweeper.params.optimizer.lr=1,2"


def test_a_file_of_the_users_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "optimizer").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /optimizer: mine\n"
    text += "trainer: {max_epochs: 3}\nseed: ${trainer.max_epochs}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    text = "defaults: [adam]\nrate: 0.25\n"
    (tmp_path / "optimizer" / "mine.yaml").write_text(text)
    words = ["experiment=mine"]
    config = Loader(words, [str(tmp_path)]).compose(words)
    assert (config.optimizer.lr, config.seed) == (0.25, 3)
    assert caplog.messages == [LINE]


def test_a_stored_run_is_read_without_a_word_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(f"{RUN} optimizer.lr=0.5", tmp_path).returncode == 0
    folder = tmp_path / "run"
    new = read_entry(folder).settings
    text = (folder / CONFIG).read_text().replace("  lr: 0.5", "  rate: 0.5")
    (folder / CONFIG).write_text(text.replace(CLASS.new, CLASS.old))
    manifest = json.loads((folder / MANIFEST).read_text())
    began = manifest["config"]
    began |= {"optimizer.rate": began.pop("optimizer.lr")}
    began["callbacks.checkpoint._target_"] = CLASS.old
    (folder / MANIFEST).write_text(json.dumps(manifest))
    monkeypatch.setattr(renames, "__version__", "7.0.0")
    assert run_config(folder, []).optimizer.lr == 0.5
    assert read_entry(folder).settings == new
    for command in ("resume run", "evaluate run --json trainer=cpu", "verify run", "report run"):
        done = call(command, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "since mnist_lab" not in done.stdout + done.stderr


def test_a_stored_sweep_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(f"{SWEEP_COMMAND} optimizer.lr=0.1,0.2 seed=3", tmp_path).returncode == 0
    path = tmp_path / "sweep" / SWEEP
    path.write_text(path.read_text().replace("optimizer.lr", RATE.old))
    assert RATE.old in path.read_text()
    monkeypatch.setattr(renames, "__version__", "7.0.0")
    done = call("resume sweep", tmp_path)
    assert done.returncode == 0, done.stderr
    done = call("resume sweep optimizer.rate=0.1,0.2,0.3", tmp_path)
    assert done.returncode == 2
    assert "optimizer.rate: is optimizer.lr since mnist_lab 0.2; write that" in done.stderr


def test_lightnings_tensorboard_is_the_same_when_typed_again(tmp_path: Path) -> None:
    logger = "+logger.tb._target_=lightning.pytorch.loggers.TensorBoardLogger "
    logger += "'+logger.tb.save_dir=${run_dir}'"
    for command in (
        f"{RUN} ~callbacks.pictures {logger}",
        f"{SWEEP_COMMAND} hydra/launcher=basic ~callbacks.pictures seed=0,1 {logger}",
    ):
        for _ in range(2):
            done = call(command, tmp_path)
            assert done.returncode == 0, done.stderr
        assert re.search("run: finished already|2 trials: 2 finished", done.stdout)
