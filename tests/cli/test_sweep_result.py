"""The result of a sweep on the terminal."""

import re
from pathlib import Path

import pytest
from sweeping import LR, finished, seeds

from mnist_lab.cli.sweep_result import best_trials, print_outcome
from mnist_lab.config.cross_validation import FOLD
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.records import Record
from mnist_lab.sweeps.results import TrialTable
from mnist_lab.sweeps.sweeper import Outcome

RECORDS = [
    Record(0, {LR: "1"}, 0, RunState.FAILED, "0", error="RuntimeError: bad, luck"),
    finished(1, 0.5),
    finished(2),
    Record(3, {LR: "1"}, 3, RunState.PRUNED, "3", [0.9]),
    finished(4, 0.75, **{"time/fit": 12.34}),
    finished(6, 0.75),
    Record(7, {LR: "1"}, 7, RunState.RUNNING),
]


def text(trials: TrialTable) -> list[str]:
    return list(best_trials(trials, 120))


def test_table_has_what_is_finished() -> None:
    lines = text(TrialTable(RECORDS, {"val/acc": "max"}))
    assert "best trials" in lines[0]
    # Two keys end in lr, which therefore come whole.
    for word in ("trial", LR, "callbacks.x.lr", "seed", "val/acc", "time/fit"):
        assert word in lines[1]
    assert "test/acc" not in lines[1]
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines[3:]]
    assert [row[0] for row in cells] == ["4", "6", "1", "2"]
    assert cells[0] == ["4", "0.004235", "[1,2]", "1", "75.00%", "12.3 s"]
    assert cells[3][4:] == ["-", "-"]


def test_seeds_are_one_row_and_the_best_is_best_in_the_mean() -> None:
    values = {("0.1", "0"): 0.9, ("0.1", "1"): 0.9, ("0.2", "0"): 0.5, ("0.2", "1"): 0.95}
    records = [
        Record(
            number,
            {LR: lr, "seed": seed},
            number,
            RunState.FINISHED,
            str(number),
            [value],
            metrics={"val/acc": value, "test/acc": value - 0.1},
        )
        for number, ((lr, seed), value) in enumerate(values.items())
    ]
    trials = TrialTable(records, {"val/acc": "max"})
    lines = [line.split() for line in text(trials)]
    assert lines[1] == ["trial", "lr", "n", "val/acc", "time/fit"]
    assert lines[3] == ["0,1", "0.1", "2", *["90.00", "±", "0.00%"], "-"]
    assert lines[4][:6] == ["2,3", "0.2", "2", "72.50", "±", "31.82%"]
    assert trials.best is records[0]
    assert trials.best_text() == "val/acc=0.9000 (mean 0.9000, standard deviation 0.0000, 2 seeds)"


def test_a_seed_without_a_value_is_not_counted() -> None:
    records = [*seeds("0.1", None, 0.5, 0.7), *seeds("0.2", None, None, start=3)]
    lines = [line.split() for line in text(TrialTable(records, {"val/acc": "max"}))]
    assert lines[1] == ["trial", "lr", "n", "val/acc", "time/fit"]
    assert lines[3] == ["0,1,2", "0.1", "2", "60.00", "±", "14.14%", "25.0", "s"]
    assert lines[4] == ["3,4", "0.2", "0", "-", "15.0", "s"]


def test_a_fold_without_a_value_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    records = seeds("0.1", None, 0.5, 0.7)
    for record in records:
        record.params = {LR: "0.1", FOLD: record.params["seed"]}
    trials = TrialTable(records, {"val/acc": "max"})
    print_outcome(Outcome(Path("s"), trials, None))
    lines = capsys.readouterr().out.splitlines()
    row = lines[lines.index("mean of folds") + 3].split()
    assert row[:3] == ["0.1", "2", "60.00%"]


def test_table_has_the_front_of_several_objectives() -> None:
    points = [(0.9, 100.0), (0.8, 50.0), (0.8, 60.0), (0.7, 10.0), (0.6, 10.0), (0.9, 100.0)]
    records = [
        finished(number, *values, num_params=values[1]) for number, values in enumerate(points)
    ]
    trials = TrialTable(records, {"val/acc": "max", "num_params": "min"})
    assert [line.split()[0] for line in text(trials)[3:]] == ["0", "5", "1", "3"]


def test_print(capsys: pytest.CaptureFixture[str]) -> None:
    trials = TrialTable(RECORDS, {"val/acc": "max"})
    print_outcome(Outcome(Path("some/[sweep]"), trials, "mnist-lab train experiment=best"))
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert "7 trials: 4 finished, 1 running, 1 pruned, 1 failed" in lines
    assert lines[-3:] == [
        "all trials: some/[sweep]/leaderboard.csv",
        "train the best again: mnist-lab train experiment=best",
        "1 still running in other processes",
    ]
    assert captured.err == f"mnist-lab train: trial 0 ({LR}=1): RuntimeError: bad, luck\n"
    assert "what failed: some/[sweep]/<trial>/train.log" in lines
    elsewhere = Record(0, {LR: "1"}, 0, RunState.FAILED, error="failed in another directory")
    print_outcome(Outcome(Path("s"), TrialTable([elsewhere], {"val/acc": "max"}), None))
    assert "what failed" not in capsys.readouterr().out


def test_a_monitor_that_no_trial_has(capsys: pytest.CaptureFixture[str]) -> None:
    records = [finished(0), finished(1)]
    for record in records:
        record.metrics = {"val_loss": 0.5, "time/fit": 1.0}
    print_outcome(Outcome(Path("s"), TrialTable(records, {"val/acc": "max"}), None))
    assert capsys.readouterr().err == (
        "mnist-lab train: monitor=val/acc: not logged; there are val_loss; type monitor=val_loss\n"
    )
    for record in records:
        record.metrics = {"train/loss": 0.5}
    print_outcome(Outcome(Path("s"), TrialTable(records, {"val/acc": "max"}), None))
    assert not capsys.readouterr().err  # without a validation there is nothing to choose by
