"""What a directory says about its progress, which may be anyone's."""

import json
from pathlib import Path

import pytest

from mnist_lab.runs.progress import Beat, epoch_text, read_beat

CONTENT = {
    "epoch": 2,
    "max_epochs": None,
    "share": 0.5,
    "steps_per_second": 10,
    "seconds_left": None,
    "metrics": {"val/acc": 0.5, "name": "x"},
}


def test_a_run_and_a_stack(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    path.write_text(json.dumps(CONTENT))
    assert read_beat(tmp_path) == Beat(2, None, 0.5, 10.0, None, {"val/acc": 0.5})
    path.write_text(json.dumps(CONTENT | {"trials": 3}))
    beat = read_beat(tmp_path)
    assert beat is not None
    assert beat.trials == 3


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"epoch": "x"}', "x" * 200_000, "[" * 50_000])
def test_what_is_none_is_none(content: str, tmp_path: Path) -> None:
    assert read_beat(tmp_path) is None
    (tmp_path / "progress.json").write_text(content)
    assert read_beat(tmp_path) is None


@pytest.mark.parametrize(("limit", "text"), [(None, "2"), (-1, "2"), (0, "2"), (3, "2/3")])
def test_an_epoch_is_of_as_many_as_there_are(limit: int | None, text: str) -> None:
    assert epoch_text(2, limit) == text
