"""Rows of ``mnist-lab runs``: states, choices, order, and what differs."""

from pathlib import Path

import pytest
from made_runs import make_run, note

from mnist_lab.report.listing import (
    differences_text,
    entries,
    what_differs,
    with_sweeps,
)
from mnist_lab.report.read_runs import Entry
from mnist_lab.runs.directory import locked


def test_the_newest_is_first_and_each_has_its_state(runs: list[Entry]) -> None:
    assert [(entry.path.name, str(entry.state)) for entry in runs] == [
        ("r3", "diverged"),
        ("r2", "failed"),
        ("r1", "finished"),
        ("r0", "finished"),
    ]


def test_a_run_that_says_running_is_so_only_while_it_is_held(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    note(run, state="running")
    assert entries([tmp_path])[0].state == "interrupted"
    with locked(run):
        assert entries([tmp_path])[0].state == "running"


def test_a_fast_dev_run_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "quick", 0, 1.0, trainer={"fast_dev_run": True})
    make_run(tmp_path / "whole", 0, 0.9)
    rows = {entry.path.name: str(entry.state) for entry in entries([tmp_path])}
    assert rows == {"quick": "fast_dev_run", "whole": "finished"}
    note(run, state="failed")
    assert entries([run])[0].state == "failed"


def test_what_differs_is_of_those_that_have_it(tmp_path: Path) -> None:
    make_run(tmp_path / "mlp", 0, 0.9, optimizer={"lr": 0.001})
    cnn = make_run(tmp_path / "cnn", 1, 0.9, optimizer={"lr": 0.01})
    text = (cnn / "config.yaml").read_text().replace("hidden_dims", "channels")
    (cnn / "config.yaml").write_text(text)
    found = entries([tmp_path])
    keys = what_differs(found)
    assert keys == ["optimizer.lr", "seed"]
    texts = {entry.path.name: differences_text(entry, keys, ["lr", "seed"]) for entry in found}
    assert texts == {"mlp": "lr=0.001 seed=0", "cnn": "lr=0.01 seed=1"}


def test_a_sweep_is_one_row(tmp_path: Path) -> None:
    for number in range(6):
        make_run(tmp_path / f"sweep/{number}", 3, 0.9 + number / 100, data={"batch_size": number})
    note(tmp_path / "sweep/5", tags=["paper"])
    note(tmp_path / "sweep/0", state="interrupted")
    (tmp_path / "sweep/sweep.json").write_text("{}")
    make_run(tmp_path / "run", 0, 0.5)
    rows = {entry.path.name: entry for entry in with_sweeps(entries([tmp_path]))}
    assert rows.keys() == {"sweep", "run"}
    sweep = rows["sweep"]
    assert (sweep.state, sweep.metrics["val/acc"], sweep.labels.tags) == (
        "interrupted",
        pytest.approx(0.95),
        ("paper",),
    )
    assert "6 trials:" in differences_text(sweep, [], [])
    assert "batch_size=0..5" in differences_text(sweep, [], [])


def test_folds_and_seeds_are_told_apart(tmp_path: Path) -> None:
    for seed in (0, 1):
        for fold in range(2):
            data = {"folds": 2, "fold": fold}
            make_run(tmp_path / f"sweep/{seed}-{fold}", seed, 0.9, data=data)
    (tmp_path / "sweep/sweep.json").write_text("{}")
    runs = entries([tmp_path])
    (sweep,) = with_sweeps(runs)
    assert differences_text(sweep, [], []) == "4 trials: 4 finished, fold=0,1 seed=0,1"
    keys = what_differs(runs)
    assert keys == ["data.fold", "seed"]
    texts = {entry.path.name: differences_text(entry, keys, ["fold", "seed"]) for entry in runs}
    assert texts["1-0"] == "fold=0 seed=1"
    assert "data.fold" not in entries([make_run(tmp_path / "other", 0, 0.9)])[0].record()


def test_a_sweep_of_one_trial(tmp_path: Path) -> None:
    make_run(tmp_path / "sweep/0", 3, 0.9)
    (tmp_path / "sweep/sweep.json").write_text("{}")
    (sweep,) = with_sweeps(entries([tmp_path]))
    assert differences_text(sweep, [], []) == "1 trial: 1 finished"


def test_what_is_broken_is_a_row(tmp_path: Path) -> None:
    (make_run(tmp_path / "a", 0, 0.9) / "config.yaml").write_text("- 1")
    (make_run(tmp_path / "b", 0, 0.9) / "manifest.json").write_text("[")
    (make_run(tmp_path / "c", 0, 0.9) / "x").symlink_to("/etc")
    found = entries([tmp_path])
    assert {entry.state for entry in found} == {"broken"}
    assert all(entry.error for entry in found)


@pytest.mark.parametrize("started", [None, 3, "soon", "9999-99-99", "2026-11-01", [1]])
def test_a_manifest_may_say_anything(started: object, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    note(run, started=started, tags={"a": 1}, note=7, error=["x"])
    (entry,) = entries([tmp_path])
    assert entry.state == "finished"
    assert entry.labels.tags == ()
    assert entry.record()["note"] is None
