"""Runs that a listing has to tell apart."""

from pathlib import Path

import pytest
from made_runs import make_run, note

from mnist_lab.report.listing import entries
from mnist_lab.report.read_runs import Entry


@pytest.fixture
def runs(tmp_path: Path) -> list[Entry]:
    """Two MLPs, a CNN that failed, and one that diverged; the newest is the last."""
    cnn = {"_target_": "mnist_lab.models.CNN"}
    for number, (acc, values) in enumerate(
        [
            (0.97, {"optimizer": {"lr": 0.001}}),
            (0.98, {"optimizer": {"lr": 0.01}}),
            (None, {"model": cnn}),
            (float("nan"), {"model": cnn}),
        ]
    ):
        run = make_run(tmp_path / f"r{number}", 0, acc, **values)
        note(run, started=f"2026-11-0{number + 1}T00:00:00+00:00")
    note(tmp_path / "r2", state="failed", error="OSError: disk", tags=["paper"], note="why")
    (tmp_path / "r2/metrics.json").unlink()
    text = (tmp_path / "r3/metrics.json").read_text().replace("NaN", "null")
    (tmp_path / "r3/metrics.json").write_text(text)
    return entries([tmp_path])
