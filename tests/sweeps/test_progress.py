"""Progress of a sweep, on a terminal and in a file."""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sweeping import seeds

from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps import progress as display_module
from mnist_lab.sweeps.progress import Display
from mnist_lab.sweeps.records import Ledger, Record


def record(number: int, state: str, value: float | None = None, error: str = "") -> Record:
    values = None if value is None else [value]
    ended = f"2026-01-01T00:00:{number:02}"
    return Record(
        number,
        {"lr": f"0.{number}"},
        number,
        state,
        values=values,
        error=error or None,
        ended=ended,
    )


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(display_module, "_EVERY", 0.01)
    records = Ledger(tmp_path)
    records.write(record(0, RunState.FINISHED, 0.5))
    return records


def test_one_trial_is_one_trial(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    with Display(ledger, 1, {"val/acc": "max"}):
        pass
    assert ": 1 trial, 1 of them done already\n" in capsys.readouterr().out


def test_lines_in_a_file(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display_module, "_EVERY", 60)  # no look before all is written
    with Display(ledger, 5, {"val/acc": "max"}):
        ledger.write(record(1, RunState.FINISHED, 0.75))
        ledger.write(record(2, RunState.PRUNED, 0.9, "pruned after epoch 2 with val/acc=0.9"))
        ledger.write(record(3, RunState.FAILED, error="RuntimeError: bad luck\x1b[2J"))
        ledger.write(Record(4, {"lr": "4"}, 4))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(": 5 trials, 1 of them done already")
    ends = [line.partition("  [")[0] for line in lines[1:]]
    assert ends == [
        "trial 1 (lr=0.1): val/acc 0.7500",
        "trial 2 (lr=0.2): pruned after epoch 2 with val/acc=0.9",
        "trial 3 (lr=0.3): failed: RuntimeError: bad luck\\x1b[2J",
    ]
    last = "4/5 done, 1 running, 1 pruned, 1 failed, best val/acc 0.7500 (trial 1)"
    assert re.search(re.escape(last) + r", \d:\d\d:\d\d left]$", lines[-1])


def test_less_may_be_better(ledger: Ledger) -> None:
    ledger.write(record(1, RunState.FINISHED, 0.25))
    with Display(ledger, 2, {"val/loss": "min"}) as display:
        assert display.summary() == "2/2 done, best val/loss 0.2500 (trial 1)"


def test_a_seed_without_a_value_is_not_the_best(ledger: Ledger) -> None:
    for each in seeds("0.1", None, 0.75, start=1):
        ledger.write(each)
    with Display(ledger, 3, {"val/acc": "max"}) as display:
        assert display.summary() == "3/3 done, best val/acc 0.7500 (trial 2)"
    for each in seeds("0.1", None, 0.75, 0.65, start=1):
        ledger.write(each)
    with Display(ledger, 4, {"val/acc": "max"}) as display:
        assert display.summary() == "4/4 done, best val/acc 0.7000 (mean of 2 seeds)"


def test_a_retried_trial_is_shown_again(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    failed = record(1, RunState.FAILED, error="bad luck")
    ledger.write(failed)
    with Display(ledger, 2, {"val/acc": "max"}):
        ledger.write(Record(1, failed.params, 2))
        ledger.write(record(1, RunState.FINISHED, 0.1))
    assert "trial 1 (lr=0.1): val/acc 0.1000" not in capsys.readouterr().out.splitlines()[0]


def test_bar_on_a_terminal(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with Display(ledger, 2, {"val/acc": "max"}):
        ledger.write(record(1, RunState.FINISHED, 0.75))
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert "2/2 best val/acc 0.7500 (trial 1)" in re.sub(
        r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", captured.err
    )


def _stacked(epoch: int, best: float, left: float) -> str:
    content = {
        "epoch": epoch,
        "max_epochs": 4,
        "share": 1.0,
        "steps_per_second": 100.0,
        "seconds_left": left,
        "metrics": {"best/val/acc": best},
        "trials": 2,
    }
    return json.dumps(content)


def test_a_stack_says_how_far_it_is(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        ledger.write(Record(number, {"lr": str(number)}, number))
    file = ledger.sweep_dir / "progress.json"
    with Display(ledger, 5, {"val/acc": "max"}) as display:
        file.write_text(_stacked(1, 0.25, 30.0))
        _until(lambda: "epoch 1/4" in display.summary())
        # Two trials more take as long as these two: 30 seconds are three quarters of that.
        assert display.summary() == (
            "1/5 done, 2 running, epoch 1/4, best val/acc 0.5000 (trial 0), 0:01:10 left"
        )
        file.write_text(_stacked(2, 0.75, 20.0))
        _until(lambda: "epoch 2/4" in display.summary())
        assert "best val/acc 0.7500, " in display.summary()
        file.unlink()
        _until(lambda: "epoch" not in display.summary())
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.partition("  [")[0] for line in lines] == ["2 stacked trials"] * 2


def test_what_a_killed_stack_has_left_is_not_shown(ledger: Ledger) -> None:
    file = ledger.sweep_dir / "progress.json"
    file.write_text(_stacked(1, 0.25, 30.0))
    os.utime(file, (time.time() - 60,) * 2)
    with Display(ledger, 5, {"val/acc": "max"}) as display:
        time.sleep(0.05)
        assert "epoch" not in display.summary()


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)
