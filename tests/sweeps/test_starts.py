"""Trials that are started again and again; test_queue.py has them in a whole sweep."""

import json
from pathlib import Path

import pytest

from mnist_lab.runs.directory import MANIFEST
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.records import Record
from mnist_lab.sweeps.starts import Starts


def ended(starts: Starts, folder: Path, step: int, attempts: int, state: RunState) -> str | None:
    """Have a trial handed out, resumed at a step, and ended; return why it fails."""
    starts.note([Record(0, {}, 0, RunState.RUNNING, attempts=attempts - 1)])
    (folder / MANIFEST).write_text(json.dumps({"attempts": [{"from_step": step}]}))
    return starts.failure(Record(0, {}, 0, state, attempts=attempts))


@pytest.mark.parametrize(
    ("state", "most", "reason"),
    [
        (RunState.RUNNING, 2, "its process ended without an error, 2 times"),
        (RunState.INTERRUPTED, 10, "was interrupted 10 times at step 5, without progress"),
    ],
)
def test_starts_at_one_step_are_counted(
    state: RunState, most: int, reason: str, tmp_path: Path
) -> None:
    starts = Starts(tmp_path)
    found = [ended(starts, tmp_path, 5, attempt, state) for attempt in range(1, most + 1)]
    assert found == [None] * (most - 1) + [reason]


def test_those_that_come_on_are_not(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    for step in range(20):
        assert ended(starts, tmp_path, step, step + 1, RunState.RUNNING) is None


def test_nor_is_what_this_process_has_not_started(tmp_path: Path) -> None:
    starts, record = Starts(tmp_path), Record(0, {}, 0, RunState.RUNNING, attempts=3)
    assert [starts.failure(record) for _ in range(20)] == [None] * 20
    assert not starts.has_come_on(record)
