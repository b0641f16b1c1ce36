"""Runs while they change: what is read again, and what folders may do meanwhile."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from made_runs import make_run, note

from mnist_lab.report import live as module
from mnist_lab.report.live import Live
from mnist_lab.runs.directory import hold

BEAT = {
    "epoch": 2,
    "max_epochs": 5,
    "share": 0.5,
    "steps_per_second": 100.0,
    "seconds_left": 12.0,
    "metrics": {"val/acc": 0.9},
}


def names(live: Live) -> list[str]:
    return sorted(entry.path.name for entry in live.entries)


def age(folder: Path) -> None:
    """Have the clock of a folder stand, as after two seconds."""
    past = time.time() - 60
    os.utime(folder, (past, past))


def test_folders_appear_vanish_and_are_half_written(tmp_path: Path) -> None:
    live = Live([tmp_path])
    assert not live.look()
    make_run(tmp_path / "a", 0, 0.9)
    assert live.look()
    assert names(live) == ["a"]
    assert not live.look()
    (tmp_path / "sweeps/b").mkdir(parents=True)  # not a run yet
    assert not live.look()
    (tmp_path / "sweeps/b/manifest.json").write_text('{"state": "run')
    assert live.look()
    assert {entry.path.name: entry.state for entry in live.entries} == {
        **{"a": "finished"},
        **{"b": "broken"},
    }
    shutil.rmtree(tmp_path / "sweeps/b")
    make_run(tmp_path / "sweeps/b", 0, 0.8)
    for _ in range(module._ROUND):
        live.look()
    assert {entry.state for entry in live.entries} == {"finished"}
    shutil.rmtree(tmp_path / "a")
    assert live.look()
    assert names(live) == ["b"]
    shutil.rmtree(tmp_path)
    assert live.look()
    assert live.entries == []


def test_a_run_that_trains_says_how_far_it_is(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0, 0.9)
    note(run, state="running")
    (run / "metrics.json").unlink()
    with hold(run / ".lock", run):
        live = Live([tmp_path])
        live.look()
        (run / "progress.json").write_text(json.dumps(BEAT))
        assert live.look()
        (entry,) = live.entries
        beat = live.beat(entry)
        assert beat is not None
        assert (beat.epoch, beat.metrics) == (2, {"val/acc": 0.9})
    note(run, state="finished")
    assert live.look()
    assert live.beat(live.entries[0]) is None


@pytest.mark.parametrize(
    "text",
    ["", "[", "[]", '{"metrics": 3}', json.dumps(BEAT | {"share": "x"}), "9" * 200_000]
    + [json.dumps(BEAT | {name: value}) for name in BEAT for value in ([], "\x1b[2J", 1e400)],
)
def test_a_strangers_progress_is_none(text: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0, 0.9)
    note(run, state="running")
    (run / "progress.json").write_text(text)
    with hold(run / ".lock", run):
        live = Live([tmp_path])
        live.look()
        assert live.entries[0].state == "running"
        assert live.beat(live.entries[0]) is None


def test_of_a_thousand_only_what_changed_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_run(tmp_path / "runs/0", 0, 0.9)
    for number in range(1, 1000):
        (tmp_path / f"runs/{number}").mkdir()
        for name in ("config.yaml", "manifest.json", "metrics.json"):
            os.link(first / name, tmp_path / f"runs/{number}/{name}")
    age(tmp_path / "runs")
    age(tmp_path)
    live = Live([tmp_path])
    assert live.look()
    assert len(live.entries) == 1000
    read: list[Path] = []
    monkeypatch.setattr(
        module, "read_entry", lambda path: read.append(path) or pytest.fail("read again")
    )
    scanned: list[Path] = []
    monkeypatch.setattr(module, "_content", lambda path: scanned.append(path))
    for _ in range(module._ROUND):
        assert not live.look()
    assert (read, scanned) == ([], [])


def test_a_sweep_says_how_far_its_stack_is(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    trials = [make_run(sweep / str(number), number, 0.9) for number in range(2)]
    (sweep / "sweep.json").write_text("{}")
    for trial in trials:
        note(trial, state="running")
    progress = sweep / "progress.json"
    progress.write_text(json.dumps(BEAT | {"trials": 2}))
    with hold(trials[0] / ".lock", trials[0]), hold(trials[1] / ".lock", trials[1]):
        live = Live([tmp_path])
        assert live.look()
        (row,) = live.rows
        beat = live.beat(row)
        assert beat is not None
        assert (beat.epoch, beat.trials) == (2, 2)
        assert not live.look()
        age(progress)  # as of a process that was killed
        assert live.look()
        assert live.beat(live.rows[0]) is None
        progress.unlink()
        live.look()
        assert not live.look()


def test_what_was_removed_is_forgotten(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps/a"
    trial = make_run(sweep / "0", 0, 0.9)
    (sweep / "sweep.json").write_text("{}")
    (sweep / "empty/deeper").mkdir(parents=True)
    note(trial, state="running")
    (sweep / "progress.json").write_text(json.dumps(BEAT | {"trials": 1}))
    live = Live([tmp_path])
    with hold(trial / ".lock", trial):
        live.look()
        assert live.beat(live.rows[0]) is not None
    assert sweep / "empty/deeper" in live._folders
    shutil.rmtree(sweep)
    assert live.look()
    assert live._stacks == live._seen == {}
    assert sorted(live._folders) == [tmp_path, tmp_path / "sweeps"]
