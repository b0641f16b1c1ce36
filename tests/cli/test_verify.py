"""``verify`` runs a run again, and finds what is not the same."""

import json
import shutil
from pathlib import Path

import pytest
from door import FEW_BATCHES, call, train

from mnist_lab.runs.directory import MANIFEST, METRICS


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    command = f"model=softmax {FEW_BATCHES} hydra.run.dir=run"
    return train(command, tmp_path_factory.mktemp("verify"))


def test_the_same_again(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    done = call(f"verify {finished}", finished.parent)
    assert done.returncode == 0, done.stderr
    assert f"{finished}: reproduced: all " in done.stdout
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_a_figure_or_weights_that_were_changed_are_found(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / METRICS).read_text())
    metrics["test/acc"] = 1.0
    (tmp_path / "run" / METRICS).write_text(json.dumps(metrics))
    manifest = json.loads((tmp_path / "run" / MANIFEST).read_text())
    manifest["sha256"]["model"] = "0" * 64
    (tmp_path / "run" / MANIFEST).write_text(json.dumps(manifest))
    done = call("verify run", tmp_path)
    assert done.returncode == 1
    assert "run: NOT reproduced" in done.stdout
    assert "different: test/acc: 1.0 in the run, " in done.stderr
    assert "best.ckpt: not the weights that the run recorded" in done.stderr


def test_an_unfinished_run_is_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / MANIFEST).read_text())
    (tmp_path / "run" / MANIFEST).write_text(json.dumps(manifest | {"state": "interrupted"}))
    done = call("verify run", tmp_path)
    assert (done.returncode, done.stderr) == (
        3,
        "mnist-lab verify: run: is not finished; mnist-lab resume run\n",
    )
