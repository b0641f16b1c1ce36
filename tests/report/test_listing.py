"""Rows of ``mnist-lab runs``: states, choices, order, and what differs."""

import json
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run

from mnist_lab.errors import ConfigError
from mnist_lab.report.listing import (
    Entry,
    chosen,
    differences_text,
    entries,
    first_of_each,
    full_name,
    ranked,
    what_differs,
    with_sweeps,
)
from mnist_lab.runs.directory import locked


def note(run: Path, **entries: Any) -> None:
    path = run / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture
def runs(tmp_path: Path) -> list[Entry]:
    """Two MLPs, a CNN that failed, and one that diverged; the newest is the last."""
    cnn = {"_target_": "mnist_lab.models.CNN"}
    for number, (acc, values) in enumerate(
        [
            (0.97, {"optimizer": {"lr": 0.001}}),
            (0.98, {"optimizer": {"lr": 0.01}}),
            (None, {"model": cnn}),
            (float("nan"), {"model": cnn}),
        ]
    ):
        run = make_run(tmp_path / f"r{number}", 0, acc, **values)
        note(run, started=f"2026-11-0{number + 1}T00:00:00+00:00")
    note(tmp_path / "r2", state="failed", error="OSError: disk", tags=["paper"], note="why")
    (tmp_path / "r2/metrics.json").unlink()
    text = (tmp_path / "r3/metrics.json").read_text().replace("NaN", "null")
    (tmp_path / "r3/metrics.json").write_text(text)
    return entries([tmp_path])


def names(found: list[Entry]) -> list[str]:
    return [entry.path.name for entry in found]


def test_the_newest_is_first_and_each_has_its_state(runs: list[Entry]) -> None:
    assert [(entry.path.name, str(entry.state)) for entry in runs] == [
        ("r3", "diverged"),
        ("r2", "failed"),
        ("r1", "finished"),
        ("r0", "finished"),
    ]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", ["r3", "r2", "r1", "r0"]),
        ("state=failed", ["r2"]),
        ("model=mlp", ["r1", "r0"]),
        ("lr>1e-3", ["r1"]),
        ("optimizer.lr >= 0.001 lr<0.01", ["r3", "r2", "r0"]),
        ("val/acc>97.5%", ["r1"]),
        ("val/acc<0.98", ["r0"]),
        ("tag=paper", ["r2"]),
        ("tag!=paper model=CNN", ["r3"]),
        ("note='why'", ["r2"]),
        ("state!=finished", ["r3", "r2"]),
        ("age>1d", ["r3", "r2", "r1", "r0"]),
        ("age<5min", []),
        ("seed=0 monitored>0", ["r1", "r0"]),
        ("started<2026-11-02", ["r0"]),
        ("dataset=mnist error=null", ["r3", "r1", "r0"]),
    ],
)
def test_where(where: str, expected: list[str], runs: list[Entry]) -> None:
    assert names(chosen(runs, where)) == expected


@pytest.mark.parametrize("where", ["lr", "=3", "learning_rate=3", "a='"])
def test_where_is_wrong_in_one_line(where: str, runs: list[Entry]) -> None:
    with pytest.raises(ConfigError):
        chosen(runs, where)


def test_a_name_that_is_nearly_right_is_suggested(runs: list[Entry]) -> None:
    with pytest.raises(ConfigError, match="did you mean val/acc"):
        full_name("val/ac", runs)


def test_the_best_comes_first_and_none_last(runs: list[Entry]) -> None:
    assert names(ranked(runs, "val/acc")) == ["r1", "r0", "r3", "r2"]
    assert names(ranked(runs, "val/acc", reverse=True)) == ["r0", "r1", "r3", "r2"]
    assert names(ranked(runs, "optimizer.lr"))[-1] == "r1"
    assert names(ranked(runs, "state")) == ["r3", "r2", "r1", "r0"]
    assert names(first_of_each(ranked(runs, "monitored"), "model")) == ["r1", "r3"]


def test_less_is_better_where_the_run_says_so(tmp_path: Path) -> None:
    for number, loss in enumerate((0.3, 0.1)):
        run = make_run(tmp_path / str(number), 0, 0.9)
        text = (run / "config.yaml").read_text().replace("val/acc", "val/loss") + "mode: min\n"
        (run / "config.yaml").write_text(text)
        metrics = json.loads((run / "metrics.json").read_text()) | {"val/loss": loss}
        (run / "metrics.json").write_text(json.dumps(metrics))
    assert names(ranked(entries([tmp_path]), "monitored")) == ["1", "0"]


def test_a_run_that_says_running_is_so_only_while_it_is_held(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0, 0.9)
    note(run, state="running")
    assert entries([tmp_path])[0].state == "interrupted"
    with locked(run):
        assert entries([tmp_path])[0].state == "running"


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
