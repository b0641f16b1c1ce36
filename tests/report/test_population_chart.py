"""Chart of a population: who copied whom, and what the best weights come from."""

from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run, note

from mnist_lab.report.leaderboard import Leaderboard
from mnist_lab.report.population_chart import lineage
from mnist_lab.report.read_runs import collect


def trial(folder: Path, number: int, accuracy: float, *phases: tuple[int, int]) -> None:
    """Write a trial that has copied others at these epochs, from the first trial on."""
    run = make_run(folder / str(number), 0, accuracy, optimizer={"lr": 1e-3 * (number + 1)})
    if phases:
        note(run, lineage=[{"epoch": at, "trial": whose, "params": {}} for at, whose in phases])


def drawn(folder: Path) -> Any:
    figure = lineage(Leaderboard(collect([folder]).runs))
    assert figure is not None
    return figure


def test_a_copy_is_an_arrow_and_the_best_one_a_thick_line(tmp_path: Path) -> None:
    trial(tmp_path, 0, 0.99, (0, 1), (1, 2), (2, 0))
    trial(tmp_path, 1, 0.98)
    trial(tmp_path, 2, 0.97, (0, 1), (1, 2))
    figure = drawn(tmp_path)
    arrows = {(arrow.x, arrow.ay, arrow.y) for arrow in figure.layout.annotations}
    assert arrows == {(1, 1, 2), (2, 2, 0)}
    *lines, best = figure.data
    assert [line.y[0] for line in lines] == [0, 1, 2]
    assert (best.x, best.y) == ((0, 1, 1, 2, 2, 3), (1, 1, 2, 2, 0, 0))


def test_one_that_has_copied_nobody_may_be_the_best(tmp_path: Path) -> None:
    trial(tmp_path, 0, 0.97, (0, 1), (1, 0))
    trial(tmp_path, 1, 0.99)
    best = drawn(tmp_path).data[-1]
    assert (best.x, best.y) == ((0, 3), (1, 1))


@pytest.mark.parametrize(
    "found",
    [
        *(None, 3, "x", [3], [{"epoch": 0}], [{"epoch": "0", "trial": 0}]),
        *([{"epoch": 2, "trial": 0}, {"epoch": 1, "trial": 0}], [{"epoch": 0, "trial": -1}]),
    ],
)
def test_what_no_sweep_has_written_is_left_out(found: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "0", 0, 0.9)
    note(run, lineage=found)
    collected = collect([tmp_path])
    assert len(collected.runs) == 1
    assert lineage(Leaderboard(collected.runs)) is None
