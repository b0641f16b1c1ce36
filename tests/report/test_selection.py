"""Terms, names and orders by which runs of a listing are chosen."""

import json
from pathlib import Path

import pytest
from made_runs import make_run

from mnist_lab.errors import ConfigError
from mnist_lab.report.listing import Entry, entries
from mnist_lab.report.selection import chosen, first_of_each, full_name, ranked


def names(found: list[Entry]) -> list[str]:
    return [entry.path.name for entry in found]


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


def test_of_no_runs_any_name_will_do() -> None:
    assert full_name("val/acc", []) == "val/acc"


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
