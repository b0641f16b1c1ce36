"""``mnist-lab runs show`` and ``diff`` through the shipped door."""

import json
import shutil
from pathlib import Path

import pytest
from door import FEW_BATCHES, call, run, without_torch
from made_runs import make_run, note

TRAINED = FEW_BATCHES.replace("logger=none", "model=softmax").replace("epochs=1", "epochs=3")


@pytest.fixture(scope="module")
def softmax(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs with TensorBoard's files."""
    folder = tmp_path_factory.mktemp("shown")
    done = call(f"train {TRAINED} seed=7 optimizer.lr=0.02 hydra.run.dir=run", folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.thorough
def test_all_about_one(softmax: Path, tmp_path: Path) -> None:
    shutil.copytree(softmax, tmp_path / "run")
    assert call("runs tag run paper", tmp_path).returncode == 0
    assert call("runs note run 'with care'", tmp_path).returncode == 0
    done = run("runs show run", tmp_path, **without_torch(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines[1:12])
    assert facts["state"] == "finished"
    assert facts["tags"] == "paper"
    assert facts["note"] == "with care"
    assert "model=softmax" in facts["config"].split()
    assert {"optimizer.lr=0.02", "trainer.max_epochs=3", "seed=7"} <= {*facts["config"].split()}
    assert "optimizer.name" not in facts["config"]
    assert "torch " in facts["versions"]
    assert any("val/acc" in line and "train/acc" in line for line in lines)
    assert any("⠤" in line or "⠉" in line for line in lines[-16:])
    assert lines[-1].strip() == "epoch"


def test_of_a_run_that_failed_the_error_shows(tmp_path: Path) -> None:
    failed = make_run(tmp_path / "run", 0, 0.9)
    (failed / "metrics.json").unlink()
    note(failed, state="failed", error="OSError: no space")
    done = call("runs show run", tmp_path)
    assert done.returncode == 0
    assert "failed: OSError: no space" in done.stdout


def test_two_runs_on_one_screen(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", 0, 0.97, optimizer={"lr": 1e-3})
    second = make_run(tmp_path / "b", 0, 0.98, optimizer={"lr": 1e-2})
    note(first, versions={"torch": "2.9.0"}, git={"commit": "1" * 40}, threads=1)
    note(second, versions={"torch": "2.9.1"}, git={"commit": "2" * 40}, threads=1)
    note(second, state="failed")
    done = call("runs diff a b", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    rows = [line.split() for line in lines]
    assert ["state", "finished", "failed"] in rows
    assert ["config", "optimizer.lr", "0.001", "0.01"] in rows
    assert ["versions", "torch", "2.9.0", "2.9.1"] in rows
    assert ["metrics", "val/acc", "97.00%", "98.00%", "+1.00%"] in rows
    assert any(row[:2] == ["code", "commit"] for row in rows)
    assert "threads" not in done.stdout
    assert "test/acc" not in done.stdout


def test_of_equals_there_is_no_difference(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0, 0.97)
    make_run(tmp_path / "b", 0, 0.97)
    assert call("runs diff a b", tmp_path).stdout.splitlines()[-1] == "no difference"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("runs show nowhere", 3, "no directory of a run"),
        ("runs show sweep", 2, "is a sweep"),
        ("runs diff run", 2, "required"),
        ("runs diff run broken", 3, "config.yaml"),
    ],
)
def test_a_mistake_is_one_line(words: str, code: int, message: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run", 0, 0.97)
    (make_run(tmp_path / "broken", 0, 0.97) / "config.yaml").write_text("[")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/sweep.json").write_text("{}")
    done = call(words, tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_strangers_texts_only_show(softmax: Path, tmp_path: Path) -> None:
    bad = "\x1b]0;owned\x07\u202e<b>" + "數" * 5 + "x" * 1_000_000
    for name in ("a", "b"):
        shutil.copytree(softmax, tmp_path / name)
        note(
            tmp_path / name,
            **dict.fromkeys(("error", "platform"), bad + name),
            note=bad,
            tags=[bad, 3],
            command=[bad, {"a": bad}],
            git={"commit": bad, bad[:30] + name: bad},
            versions={bad[:40]: bad + name, "torch": ["\x1b[2J" + name]},
        )
    for words in ("show a", "diff a b"):
        done = call(f"runs {words}", tmp_path)
        assert done.returncode == 0, done.stderr
        assert not set(done.stdout) & set("\x1b\x07\u202e")
        assert len(done.stdout) < 100_000


def test_a_manifest_of_another_form_is_one_line(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "a", 0, 0.97)
    (run_dir / "manifest.json").write_text(json.dumps({"git": 3, "versions": None, "command": 1}))
    assert call("runs show a", tmp_path).returncode == 0
