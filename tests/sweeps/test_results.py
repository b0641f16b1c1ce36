"""Trials of a sweep, in a table and in files."""

import csv
import json
from pathlib import Path

import pytest
from sweeping import LR, finished, seeds

from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.records import Record, Report
from mnist_lab.sweeps.results import CSV, JSON, TrialTable


def pruned(number: int, epoch: int, value: float) -> Record:
    report = Report(epoch, value)
    return Record(number, {LR: "1"}, number, RunState.PRUNED, str(number), [value], report=report)


RECORDS = [
    Record(0, {LR: "1"}, 0, RunState.FAILED, "0", error="RuntimeError: bad, luck"),
    finished(1, 0.5),
    finished(2),
    pruned(3, 1, 0.9),
    finished(4, 0.75, **{"test/acc_class_0": 0.1, "time/fit": 12.34}),
    pruned(5, 4, 0.3),
    finished(6, 0.75),
    Record(7, {LR: "1"}, 7, RunState.RUNNING),
    pruned(8, 1, 0.95),
]


@pytest.mark.parametrize(
    ("mode", "order"),
    [("max", [4, 6, 1, 2, 5, 8, 3, 0, 7]), ("min", [1, 4, 6, 2, 5, 3, 8, 0, 7])],
)
def test_order(mode: str, order: list[int]) -> None:
    trials = TrialTable(RECORDS, {"val/acc": mode})
    assert [record.number for record in trials.records] == order
    assert trials.best is not None
    assert trials.best.number == order[0]


@pytest.mark.parametrize("records", [[], RECORDS[:1], [finished(0)], [pruned(0, 1, 0.5)]])
def test_none_is_best(records: list[Record], tmp_path: Path) -> None:
    trials = TrialTable(records, {"val/acc": "max"})
    assert trials.best is None
    trials.write(tmp_path)
    assert json.loads((tmp_path / JSON).read_text())["best"] is None


def test_files(tmp_path: Path) -> None:
    TrialTable(RECORDS, {"val/acc": "max"}).write(tmp_path)
    with open(tmp_path / CSV, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 10)]
    first = rows[0]
    assert (first["trial"], first[LR], first["callbacks.x.lr"]) == ("4", "0.004234567", "[1,2]")
    assert (first["val/acc"], first["test/acc"], first["time/fit"]) == ("0.75", "0.25", "12.34")
    assert "test/acc_class_0" not in first
    assert rows[7]["error"] == "RuntimeError: bad, luck"
    content = json.loads((tmp_path / JSON).read_text())
    assert (content["best"], content["front"]) == (4, None)
    assert content["trials"][0]["metrics"]["test/acc_class_0"] == 0.1


def test_front_of_several_objectives(tmp_path: Path) -> None:
    points = [(0.9, 100.0), (0.8, 50.0), (0.8, 60.0), (0.7, 10.0), (0.6, 10.0), (0.9, 100.0)]
    records = [
        finished(number, *values, num_params=values[1]) for number, values in enumerate(points)
    ]
    trials = TrialTable(records, {"val/acc": "max", "num_params": "min"})
    assert trials.front() == {0, 1, 3, 5}
    trials.write(tmp_path)
    assert json.loads((tmp_path / JSON).read_text())["front"] == [0, 1, 3, 5]


def test_a_seed_without_a_value_is_none_of_the_mean() -> None:
    trials = TrialTable(
        [*seeds("1", None, 0.5, 0.7), *seeds("2", None, None, start=3)], {"val/acc": "max"}
    )
    group, other = trials.groups
    assert (group.count, other.count) == (2, 0)
    assert group.values == [pytest.approx(0.6)]
    accuracy = group.spread("val/acc")
    assert accuracy is not None
    assert (accuracy.mean, accuracy.std) == (pytest.approx(0.6), pytest.approx(0.02**0.5))
    assert [each.spread("time/fit").mean for each in (group, other)] == [25.0, 15.0]
    assert other.spread("val/acc") is None
    assert trials.best is not None
    assert trials.best.number == 1
    assert trials.best_text() == (
        "val/acc=0.5000 (mean 0.6000, standard deviation 0.1414, 2 seeds)"
    )


def test_a_seed_that_lacks_one_objective_is_none_of_any_mean() -> None:
    records = seeds("1", 0.9, 0.5, 0.7, num_params=10.0)
    records[0].values, records[0].metrics["num_params"] = None, None
    trials = TrialTable(records, {"val/acc": "max", "num_params": "min"})
    (group,) = trials.groups
    assert (group.count, group.values) == (2, [pytest.approx(0.6), 10.0])
    assert group.spread("val/acc").mean == pytest.approx(0.6)
    assert "(mean 0.6000, standard deviation 0.1414, 2 seeds)" in trials.best_text()
