"""Text of tables and CSV files."""

import math

import pytest

from mnist_lab.runs.summary import counted, csv_text, headings, metric_text


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


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1200.0, "1,200 runs")]
)
def test_a_number_of_things_is_grammatical(number: float, text: str) -> None:
    assert counted(number, "run") == text
