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


def test_no_interval_reaches_beyond_what_an_accuracy_can_be(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.90, 0.999, 0.999)):
        make_run(tmp_path / str(seed), seed, accuracy)
    figure = charts.accuracy_against(Leaderboard(collect([tmp_path]).runs), "time/fit", "seconds")
    assert figure is not None
    validation, test = figure.data
    assert validation.error_y.array[0] == 1 - validation.y[0]
    assert validation.error_y.arrayminus[0] > validation.error_y.array[0]
    assert test.error_y.array is None  # all runs have the same


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


def test_curves_are_named_by_what_differs_and_are_not_cut_to_the_same(tmp_path: Path) -> None:
    dims = list(range(100, 124))
    for number, last in enumerate((1, 2)):
        make_run(tmp_path / str(number), 0, 0.9 - number / 10, model={"hidden_dims": [*dims, last]})
    rows = Leaderboard(collect([tmp_path]).runs)
    first, second = (charts.folded(name) for name in rows.names(rows.rows))
    assert first != second
    assert first.startswith("1: hidden_dims=[100,")  # not MLP, which both are
    assert "<br>" in first
    (only,) = rows.names(rows.rows[:1])
    assert only == "1: MLP"


def test_models_of_different_kinds_have_different_colours(tmp_path: Path) -> None:
    names = ("torchvision.models.resnet18", "torchvision.models.alexnet")
    for number, name in enumerate(names):
        model = {"_target_": "mnist_lab.models.module.Module", "net": {"_target_": name}}
        make_run(tmp_path / str(number), 0, 0.9 - number / 10, model=model)
    make_run(tmp_path / "mlp", 0, 0.7)
    figure = charts.accuracy_against(Leaderboard(collect([tmp_path]).runs), "time/fit", "seconds")
    assert figure is not None
    colours = {trace.name: trace.marker.color for trace in figure.data}
    validation = [f"{name} val/acc" for name in ("resnet18", "alexnet", "MLP")]
    assert len({colours[name] for name in validation}) == 3
