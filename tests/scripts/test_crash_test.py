"""A small version of ``scripts/crash_test.py``: real kills, and every run to the same end."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "crash_test.py"


def test_kills_and_signals_change_nothing(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    parts = ["--kills", "1", "--saves", "2", "--signals", "1", "--races", "1"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *parts, "--json", report],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(report.read_text())
    assert counts["kills"]["killed"] >= 1
    assert counts["saves"]["killed"] == 2
    assert [counts[part]["different"] for part in ("kills", "saves", "signals", "races")] == [0] * 4
    assert counts["saves"]["unreadable"] == []
