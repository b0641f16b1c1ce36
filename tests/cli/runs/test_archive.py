"""``mnist-lab runs archive``, and what takes its file elsewhere."""

import json
import os
import zipfile
from pathlib import Path

import pytest
from door import FEW_BATCHES, call
from killed import killed_at
from made_runs import make_run


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a run that was killed after its first epoch, and its folder."""
    folder = tmp_path_factory.mktemp("packed")
    words = FEW_BATCHES.replace("epochs=1", "epochs=2")
    command = f"train model=softmax {words} callbacks.checkpoint.every_n_steps=1"
    killed_at(3, f"{command} hydra.run.dir=stopped", folder)
    assert call(f"{command} hydra.run.dir=whole", folder).returncode == 0
    for name in ("stopped", "whole"):
        done = call(f"runs archive {name}", folder)
        assert (done.returncode, done.stdout) == (0, f"{name}.zip\n"), done.stderr
    return folder


def test_evaluate_takes_it(packed: Path, tmp_path: Path) -> None:
    done = call(f"evaluate {packed / 'whole.zip'} trainer.limit_test_batches=1 --json", tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((packed / "whole/metrics.json").read_text())
    assert json.loads(done.stdout)["test/acc"] == metrics["test/acc"]
    assert list(tmp_path.iterdir()) == []


def test_resume_takes_it_to_the_same_bits(packed: Path, tmp_path: Path) -> None:
    done = call(f"resume {packed / 'stopped.zip'}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("unpacked: stopped\n")
    hashes = [
        json.loads((folder / "manifest.json").read_text())["sha256"]
        for folder in (tmp_path / "stopped", packed / "whole")
    ]
    assert hashes[0] == hashes[1]
    done = call(f"resume {packed / 'stopped.zip'}", tmp_path)
    assert done.returncode == 2
    assert "is there already" in done.stderr


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 0, 0.9)
    for name in ("note.txt", "run.zip"):
        (tmp_path / name).write_text("mine")
    for words, name in (("-o note.txt", "note.txt"), ("", "run.zip")):
        done = call(f"runs archive run {words}", tmp_path)
        line = f"mnist-lab runs: {name}: is there already; --overwrite replaces it\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
        assert (tmp_path / name).read_text() == "mine"
        done = call(f"runs archive run {words} --overwrite", tmp_path)
        assert (done.returncode, done.stdout) == (0, f"{name}\n")
        assert zipfile.is_zipfile(tmp_path / name)


def test_the_directory_above_has_its_own_name(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    (run / "checkpoints").mkdir()
    done = call("runs archive ..", run / "checkpoints")
    line = "mnist-lab runs: --output run.zip: must not be in the directory that it holds\n"
    assert (done.returncode, done.stderr) == (2, line)
    done = call("runs archive .. -o ../../a.zip", run / "checkpoints")
    assert (done.returncode, done.stdout) == (0, "../../a.zip\n")


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 0, 0.9)
    os.mkfifo(tmp_path / "pipe")
    done = call("runs archive run -o pipe --overwrite", tmp_path)
    line = "mnist-lab runs: pipe: must be a regular file, or a path where none is\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert (tmp_path / "pipe").is_fifo()
