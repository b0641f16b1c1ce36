"""Text of tables and CSV files."""

import math

import pytest

from mnist_lab.runs.summary import (
    Spread,
    counted,
    csv_text,
    headings,
    interval_text,
    metric_text,
    metrics_table,
    not_logged,
    size_text,
    spread_text,
)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("val/acc", 0.98765, "98.77%"),
        ("test/loss", 0.12345, "0.1235"),
        ("test/loss", 0.0, "0.0000"),
        ("num_params", 1234.0, "1,234"),
        ("time/fit", 12.34, "12.3 s"),
        ("val/loss", math.nan, "nan"),
        ("val/acc", None, ""),
    ],
)
def test_metrics(name: str, value: float | None, text: str) -> None:
    assert metric_text(name, value) == text


def test_headings_are_short_where_they_are_unique() -> None:
    assert headings(["optimizer.lr", "seed", "callbacks.x.lr"]) == [
        *("optimizer.lr", "seed", "callbacks.x.lr")
    ]
    assert headings(["optimizer.lr", "model.init"]) == ["lr", "init"]


def test_csv_has_each_column_and_no_formula() -> None:
    rows = [{"a": 1, "b": "=cmd()"}, {"a": "-0.5", "c": None}, {"a": "+1e-3", "b": "-x"}]
    assert csv_text(rows) == "a,b,c\n1,'=cmd(),\n-0.5,,\n+1e-3,'-x,\n"
    assert csv_text([{"tags": ("=a", "b"), "places": ["x"]}]) == "tags,places\n'=a b,x\n"


def test_means_and_intervals() -> None:
    spread = Spread.of([0.98, 0.99])
    assert spread_text("val/acc", spread) == "98.50 ± 0.71%"
    assert spread_text("val/acc", Spread.of([0.98])) == "98.00%"
    assert spread_text("test/acc", Spread.of([math.nan, 1.0])) == "nan"
    assert spread_text("num_params", Spread.of([1234.0])) == "1,234"
    assert spread_text("time/fit", Spread.of([1.0, 3.0])) == "2.0 s"
    assert spread_text("val/acc", None) == interval_text("val/acc", None) == ""
    assert interval_text("val/acc", Spread.of([0.98])) == ""
    assert interval_text("val/acc", spread) == "92.15 to 100.00%"  # no accuracy is 104.85 %
    assert interval_text("val/loss", spread) == "0.9215 to 1.0485"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1200.0, "1,200 runs")]
)
def test_a_number_of_things_is_grammatical(number: float, text: str) -> None:
    assert counted(number, "run") == text


def test_a_small_file_has_a_size() -> None:
    sizes = (0, 999, 16_600, 999_000, 1_700_000, 2.34e9)
    texts = ["0 B", "999 B", "17 kB", "999 kB", "1.7 MB", "2.3 GB"]
    assert [size_text(size) for size in sizes] == texts


def test_metrics_of_other_names_have_a_row_each() -> None:
    costs = {"epochs": 1.0, "steps": 2.0, "num_params": 9.0, "time/fit": 1.5}
    assert metrics_table(costs) == [["", "value"]]
    table = metrics_table(costs | {"val_loss": 0.5, "test_acc": 0.25, "val/acc": 0.75})
    assert table[1:] == [["val_loss", "0.5000"], ["test_acc", "0.2500"], ["val/acc", "75.00%"]]


def test_metrics_of_a_split_are_a_row() -> None:
    metrics = {"val/acc": 0.5, "val/loss": 1.5, "val/f1": 0.25, "test/acc": 0.75, "test/loss": 1.25}
    assert metrics_table(metrics | {"test/acc_class_1": 1.0, "steps": 3.0}, ["a", "b"]) == [
        ["", "accuracy", "loss", "f1"],
        ["val", "50.00%", "1.5000", "0.2500"],
        ["test", "75.00%", "1.2500", ""],
        ["  b", "100.00%", "", ""],
    ]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["train_acc", "val_acc", "val_loss", "val/num_samples", "time/fit"],
            "there are val_loss, val_acc, train_acc; type monitor=val_loss",
        ),
        (["val_f1"], "there are val_f1; type monitor=val_f1"),
        (["epochs"], "nor is anything else; call self.log in the model"),
    ],
)
def test_a_monitor_that_is_not_logged(names: list[str], words: str) -> None:
    line = not_logged("val/acc", names)
    assert line.startswith("monitor=val/acc: not logged")
    assert line.endswith(words)
