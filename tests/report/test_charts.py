"""Charts: that they have every row, and take what files say for text."""

from pathlib import Path

import torch
from made_runs import make_run

from mnist_lab.report import charts
from mnist_lab.report.leaderboard import Leaderboard
from mnist_lab.report.read_runs import collect

HOSTILE = '<a href="javascript:alert(1)">x</a>'


def board(folder: Path) -> Leaderboard:
    for number in range(6):
        lr = 10.0 ** -(number + 1)
        model = {"activation": HOSTILE if number % 2 else "relu"}
        make_run(folder / str(number), 0, 0.9 + number / 100, optimizer={"lr": lr}, model=model)
    return Leaderboard(collect([folder]).runs)


def test_accuracy_against_time_has_every_row(tmp_path: Path) -> None:
    figure = charts.accuracy_against(board(tmp_path), "time/fit", "seconds")
    assert figure is not None
    assert [len(trace.x) for trace in figure.data] == [6, 6]
    assert all("<a" not in text for trace in figure.data for text in trace.text)


def test_learning_curves_are_shown_a_kind_at_a_time() -> None:
    curves_of = {
        HOSTILE: {"val/acc": [(1.0, 0.9), (2.0, 0.95)], "val/loss": [(1.0, 0.3)]},
        "other": {"val/acc": [(1.0, 0.8)]},
    }
    figure = charts.learning_curves(curves_of)
    assert figure is not None
    assert [trace.visible for trace in figure.data] == [True, False, True]
    assert "<a" not in figure.data[0].name
    assert charts.learning_curves({"none": {}}) is None


def test_confusion_leaves_out_zeros() -> None:
    figure = charts.confusion_matrix(torch.tensor([[5, 0], [1, 4]]), "row")
    assert [list(line) for line in figure.data[0].text] == [["5", ""], ["1", "4"]]
