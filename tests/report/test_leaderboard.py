"""Rows and their figures, against a direct computation from the metrics of the runs."""

import csv
import io
import json
import math
from pathlib import Path
from statistics import mean, stdev

import pytest
import yaml
from made_runs import make_run, note
from scipy import stats

from mnist_lab.errors import ConfigError
from mnist_lab.report.leaderboard import Leaderboard, better_sign, nearest
from mnist_lab.report.read_runs import collect


def test_runs_that_differ_in_their_seed_alone_are_one_row(tmp_path: Path) -> None:
    values = {0.01: [0.97, 0.98, 0.96], 0.001: [0.99, 0.985]}
    for lr, accuracies in values.items():
        for seed, acc in enumerate(accuracies):
            make_run(tmp_path / f"sweep/{lr}-{seed}", seed, acc, optimizer={"lr": lr})
    board = Leaderboard(collect([tmp_path]).runs)
    assert board.keys == ["optimizer.lr"]
    assert [row.settings["optimizer.lr"] for row in board.rows] == [0.001, 0.01]
    for row in board.rows:
        expected = values[row.settings["optimizer.lr"]]
        spread = row.metrics["val/acc"]
        assert spread.n == len(expected)
        assert spread.mean == pytest.approx(mean(expected), abs=1e-12)
        assert spread.std == pytest.approx(stdev(expected))
        low, high = stats.t.interval(0.95, len(expected) - 1, mean(expected), stats.sem(expected))
        assert spread.half == pytest.approx((high - low) / 2)


def test_is_sorted_by_validation_and_never_by_test(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0, 0.95, test_acc=0.99, optimizer={"lr": 1.0})
    make_run(tmp_path / "b", 0, 0.97, test_acc=0.90, optimizer={"lr": 2.0})
    make_run(tmp_path / "c", 0, None, test_acc=0.99, data={"val_size": 0})
    make_run(tmp_path / "d", 0, math.nan, test_acc=0.1, optimizer={"lr": 9.0})
    board = Leaderboard(collect([tmp_path]).runs)
    assert [row.runs[0].path.name for row in board.rows] == ["b", "a", "c", "d"]


def own(path: Path, monitor: str, mode: str, metrics: dict[str, float]) -> None:
    """Make a run of a module of one's own, which logs under other names."""
    make_run(path, 0, None)
    text = (path / "config.yaml").read_text().replace("monitor: val/acc", f"monitor: {monitor}")
    config = yaml.safe_load(text) | {"mode": mode}
    config["optimizer"]["lr"] = metrics[monitor]  # so that runs differ
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    cost = {"epochs": 1.0, "steps": 1.0, "num_params": 9.0, "time/fit": 1.0, "time/total": 1.0}
    (path / "metrics.json").write_text(json.dumps(metrics | cost))


@pytest.mark.parametrize(
    ("monitor", "mode", "expected"),
    [
        *[("val_loss", "min", ["b", "a"]), ("val_acc", "max", ["a", "b"])],
        *[("val/f1", "max", ["a", "b"]), ("train_loss", "min", ["b", "a"])],
    ],
)
def test_is_sorted_by_what_the_runs_monitor(
    monitor: str, mode: str, expected: list[str], tmp_path: Path
) -> None:
    test = monitor.replace("val", "test")
    for name, value in (("a", 0.9), ("b", 0.4)):
        own(tmp_path / name, monitor, mode, {monitor: value, test: value / 2})
    board = Leaderboard(collect([tmp_path]).runs)
    assert board.sorted_by == monitor
    assert [board.best_run(row).path.name for row in board.rows] == expected
    headings = [cell.heading for cell in board.cells(board.rows[0], shows_test=False)]
    assert monitor in headings
    assert ("val" not in monitor) == (test in headings)
    assert test in [cell.heading for cell in board.cells(board.rows[0])]


@pytest.mark.parametrize(
    ("name", "target", "sign"),
    [
        *[("val/acc", None, 1), ("val_acc", None, 1), ("val_loss", None, -1)],
        *[("val/ece", None, -1), ("test_mse", None, -1), ("time/fit", None, -1)],
        *[("val/x", "torchmetrics.CalibrationError", -1), ("val/x", "torchmetrics.F1Score", 1)],
        ("val/error_class_3", "torchmetrics.classification.MulticlassRecall", 1),
    ],
)
def test_whether_more_of_a_metric_is_better(name: str, target: str | None, sign: int) -> None:
    metric = name.partition("/")[2].removesuffix("_class_3")
    settings = {f"metrics.{metric}._target_": target} if target else {}
    assert better_sign(name, settings) == sign


def test_where_a_run_was_and_how_it_was_shown_is_no_difference(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0, 0.9, trainer={"enable_progress_bar": False})
    make_run(tmp_path / "b", 1, 0.9, data={"root": "/elsewhere"})
    make_run(tmp_path / "c", 2, 0.9, callbacks={"pictures": {"confusion": False}})
    make_run(tmp_path / "d", 3, 0.9, trainer={"max_time": None})
    assert len(Leaderboard(collect([tmp_path]).runs).rows) == 1


def test_a_seed_twice_is_told(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0, 0.9)
    make_run(tmp_path / "b", 0, 0.9)
    (row,) = Leaderboard(collect([tmp_path]).runs).rows
    assert row.repeats_seeds


def test_rows_are_named_by_number_or_directory(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0, 0.9)
    make_run(tmp_path / "b", 0, 0.8, optimizer={"lr": 1.0})
    board = Leaderboard(collect([tmp_path]).runs)
    assert board.row_of("2")[0].number == 2
    row, run = board.row_of(str(tmp_path / "b"))
    assert row.number == 2
    assert run is not None
    assert run.path == tmp_path / "b"
    for name in ("3", "0", "nothing", str(tmp_path)):
        with pytest.raises(ConfigError, match="--compare"):
            board.row_of(name)


def test_csv_and_records_have_what_differs(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0, 0.9, model={"activation": "=cmd|' /C calc'!A0"})
    make_run(tmp_path / "b", 0, 0.8)
    board = Leaderboard(collect([tmp_path]).runs)
    rows = list(csv.DictReader(io.StringIO(board.csv())))
    assert [row["activation"] for row in rows] == ["'=cmd|' /C calc'!A0", "relu"]
    assert float(rows[0]["val/acc"]) == 0.9
    assert rows[0]["directories"] == str(tmp_path / "a")
    (record, _) = board.records()
    assert record["val/acc/std"] is record["val/acc/ci95_low"] is None  # of one run
    json.dumps(board.records(), allow_nan=False)


def test_no_interval_of_an_accuracy_is_beyond_0_and_1_for_other_programs(tmp_path: Path) -> None:
    for seed, (val_acc, test_acc) in enumerate([(0.98, 0.02), (1.0, 0.0)]):
        make_run(tmp_path / str(seed), seed, val_acc, test_acc)
    (record,) = Leaderboard(collect([tmp_path]).runs).records()
    assert 0.8 < record["val/acc/ci95_low"] < 0.99
    assert record["val/acc/ci95_high"] == 1.0
    assert record["test/acc/ci95_low"] == 0.0
    assert 0.01 < record["test/acc/ci95_high"] < 0.2
    assert record["time/fit/ci95_low"] == record["time/fit/ci95_high"] == 2.5


def test_a_metric_that_no_run_has_is_answered_with_those_there_are(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0, 0.9)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics |= {f"test/acc_class_{label}": 0.9 for label in range(10)}
    metrics |= {f"train/m{number}": 0.9 for number in range(10)}
    (run / "metrics.json").write_text(json.dumps(metrics))
    runs = collect([tmp_path]).runs
    with pytest.raises(ConfigError) as error:
        Leaderboard(runs, "foo")
    assert str(error.value) == (
        "--by foo: no run has it; val/acc, val/loss, test/acc, test/loss, train/m0, train/m1, "
        "train/m2, train/m3, train/m4, train/m5 and 9 more"
    )
    for typed, meant in (("acc", "val/acc"), ("val/ac", "val/acc"), ("fit", "time/fit")):
        with pytest.raises(ConfigError, match=f"--by {typed}: no run has it; did you mean {meant}"):
            Leaderboard(runs, typed)


def test_a_metric_that_not_all_runs_have_has_its_own_n(tmp_path: Path) -> None:
    for seed, acc in enumerate((0.9, 0.8, None)):
        make_run(tmp_path / str(seed), seed, acc, test_acc=0.9)
    board = Leaderboard(collect([tmp_path]).runs)
    (row,) = board.rows
    assert row.cell("val/acc") == "85.00 ± 7.07% (n=2)"
    assert row.cell("test/acc") == "90.00 ± 0.00%"
    (record,) = board.records()
    assert (record["n"], record["val/acc/n"]) == (3, 2)
    assert "test/acc/n" not in record
    (line,) = csv.DictReader(io.StringIO(board.csv()))
    assert (line["n"], line["val/acc/n"]) == ("3", "2")


def test_the_protocol_is_one_column_and_no_setting_takes_a_columns_name(tmp_path: Path) -> None:
    for name, count in (("a", 2), ("b", 0)):
        run = make_run(tmp_path / name, 0, 0.9, model={"tags": name})
        with (run / "config.yaml").open("a") as config:
            config.write("protocol: sealed\n")
        note(run, test_readings=[{"by": "train"}] * count)
    note(make_run(tmp_path / "c", 0, 0.8), tags=["paper"])
    board = Leaderboard(collect([tmp_path]).runs)
    lines = [{cell.heading: cell.text for cell in board.cells(row)} for row in board.rows]
    assert [line["protocol"] for line in lines] == [
        "sealed, read 2 times",
        "sealed, not read",
        "open",
    ]
    assert [line["model.tags"] for line in lines] == ["a", "b", ""]
    assert [line["tags"] for line in lines] == ["", "", "paper"]
    headings = [cell.heading for cell in board.cells(board.rows[0])]
    assert len({*headings}) == len(headings)
    assert [record["tags"] for record in board.records()] == ["", "", "paper"]


NAMES = ["epochs", "test/acc", "test/acc_class_0", "train/acc", "val/acc", "val/loss"]


def test_the_last_part_suggests_the_name_of_validation() -> None:
    assert nearest("acc", NAMES) == "did you mean val/acc?"
    assert nearest("val/los", NAMES) == "did you mean val/loss?"
    assert nearest("zzz", NAMES) == ""
