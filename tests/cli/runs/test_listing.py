"""``mnist-lab runs`` through the shipped door: what users ask of many runs."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from door import call, run, without_torch
from made_runs import make_run

CNN = {"_target_": "mnist_lab.models.CNN"}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A folder with outputs of two machines: runs, one that failed, and a sweep."""
    for number, lr in enumerate((1e-4, 1e-3, 1e-2)):
        make_run(tmp_path / f"outputs/runs/a{number}", 0, 0.95 + number / 100, optimizer={"lr": lr})
    make_run(tmp_path / "outputs/runs/cnn", 0, 0.99, model=CNN)
    failed = make_run(tmp_path / "outputs/runs/failed", 0, 0.9)
    (failed / "metrics.json").unlink()
    (failed / "manifest.json").write_text('{"state": "failed", "error": "OSError: no space"}')
    for seed in (0, 1):
        make_run(tmp_path / f"other/sweeps/s/{seed}", seed, 0.9)
    (tmp_path / "other/sweeps/s/sweep.json").write_text("{}")
    return tmp_path


def listed(command: str, folder: Path) -> list[str]:
    """Return the directories that a command lists."""
    done = call(f"runs {command} --json", folder)
    assert (done.returncode, done.stderr) == (0, "")
    return [row["run"] for row in json.loads(done.stdout)]


def test_a_table_of_all(outputs: Path) -> None:
    done = run("runs", outputs, **without_torch(outputs))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 7
    assert lines[0].split() == [
        *("run", "age", "state", "model", "what", "differs"),
        *("val/acc", "test/acc", "time"),
    ]
    assert any("outputs/runs/a1" in line and "lr=0.001" in line for line in lines)


def test_only_the_failed_ones(outputs: Path) -> None:
    assert listed("--where state=failed", outputs) == ["outputs/runs/failed"]
    done = call("runs --where state=failed --columns run,error", outputs)
    assert "OSError: no space" in done.stdout


def test_the_best_of_each_model(outputs: Path) -> None:
    assert listed("--best-of model", outputs) == ["outputs/runs/cnn", "outputs/runs/a2"]


def test_all_with_a_learning_rate_between(outputs: Path) -> None:
    where = "--where 'lr>1e-4 lr<1e-2 state=finished'"
    assert sorted(listed(where, outputs)) == ["outputs/runs/a1", "outputs/runs/cnn"]


def test_runs_of_two_machines_side_by_side(outputs: Path) -> None:
    rows = listed("outputs other --sort val/acc", outputs)
    assert rows[0] == "outputs/runs/cnn"
    assert "other/sweeps/s" in rows
    assert len(listed("outputs other --trials", outputs)) == 7
    assert listed("outputs other --sort val/acc --limit 1", outputs) == ["outputs/runs/cnn"]


def test_trials_are_listed_without_what_nobody_should_choose_by(outputs: Path) -> None:
    shown = [
        "test/acc" in call(f"runs {words}", outputs).stdout.splitlines()[0]
        for words in ("outputs", "other", "other --trials", "other --trials --test")
    ]
    assert shown == [True, True, False, True]
    assert "test/acc" in call("runs other --trials --columns run,test/acc", outputs).stdout


def test_what_is_tagged_is_found_after_the_folder_was_moved(outputs: Path) -> None:
    for words, said in (
        ("tag outputs/runs/a1 other/sweeps/s paper base", r"\d+ runs: added 2 tags: paper base\n"),
        ("tag outputs/runs/a1 base --remove", r"1 run: removed 1 tag: base\n"),
        ("note outputs/runs/a1 'a note'", ""),
    ):
        done = call(f"runs {words}", outputs)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(said, done.stdout)
    shutil.move(outputs / "outputs", outputs / "moved")
    assert listed("moved --where tag=paper", outputs) == ["moved/runs/a1"]
    assert listed("moved other --where tag=base", outputs) != []
    done = call("runs moved --where tag=paper --columns run,tags,note", outputs)
    assert done.stdout.splitlines()[-1].split() == ["moved/runs/a1", "paper", "a", "note"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("runs nowhere", 3, "no such directory"),
        ("runs --where 'lrr=3'", 2, "lrr"),
        ("runs --where lr", 2, "--where lr: must be"),
        ("runs --sort nothing", 2, "no run has it"),
        ("runs --limit 0", 2, "must be a number from 1"),
        ("runs tag paper", 2, "are required"),
        ("runs tag outputs/runs/a1 outputs/runs/none", 3, "outputs/runs/none"),
        ("runs tag outputs/runs/a1 '=1+1'", 2, "must be letters"),
        ("runs note nowhere text", 3, "no directory of a run"),
    ],
)
def test_a_mistake_is_one_line(words: str, code: int, message: str, outputs: Path) -> None:
    done = call(words, outputs)
    assert done.returncode == code
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_a_table_folds_and_cuts_nothing(
    columns: int, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_lab.cli.terminal._FILE_WIDTH", columns)
    long = f"outputs/runs/{'long_' * 12}end"
    make_run(outputs / long, 3, 0.9, optimizer={"lr": 0.123})
    lines = call("runs outputs other", outputs).stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert "lr=0.123" in "\n".join(lines)
    assert long in "".join(line.split("  ")[0] for line in lines) or long in "\n".join(lines)


def test_a_strangers_labels_only_show(outputs: Path) -> None:
    path = outputs / "outputs/runs/a1/manifest.json"
    bad = ["=cmd|'/c calc'!A1", "\x1b]0;owned\x07", "\u202egpj", "數字" * 40, "<b>"]
    note = "=1+1\x1b[2J" + "x" * 1_000_000
    path.write_text(json.dumps({"state": "finished", "tags": bad, "note": note}))
    for words in ("", "--csv", "--json", "--columns run,tags,note"):
        done = call(f"runs {words}", outputs)
        assert done.returncode == 0
        assert not set(done.stdout) & set("\x1b\x07\u202e")
        assert len(done.stdout) < 100_000
    rows = list(csv.DictReader(io.StringIO(call("runs --csv", outputs).stdout)))
    row = next(row for row in rows if row["run"] == "outputs/runs/a1")
    assert row["tags"].startswith("'=")
    assert row["note"].startswith("'=")
