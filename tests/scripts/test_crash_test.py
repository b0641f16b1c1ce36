"""A small version of ``scripts/crash_test.py``: real kills, and every run to the same end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "crash_test.py"


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"kills": 1, "saves": 2}, marks=pytest.mark.slow),
        pytest.param({"signals": 1, "races": 1}, marks=pytest.mark.slow),
        pytest.param({"searches": 6}, marks=pytest.mark.slow),
    ],
)
def test_what_breaks_a_run_off_changes_nothing(parts: dict[str, int], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    counts = [f"--{part}={count}" for part, count in parts.items()]
    done = subprocess.run(
        [sys.executable, SCRIPT, *counts, "--json", report],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert [found[part]["different"] for part in parts] == [0] * len(parts)
    for part in {"kills", "saves", "signals"} & set(parts):
        assert found[part]["killed"] >= parts[part]
    if "searches" in parts:
        assert sum(found["searches"]["killed"].values()) == parts["searches"]
    if "saves" in parts:
        assert found["saves"]["unreadable"] == []
