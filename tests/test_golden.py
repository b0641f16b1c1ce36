"""What every version so far has done, this one does: tests/golden/README.md."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "golden.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["lines", "runs", "runs_of_records", "directories", "directories_0.2.0"]
)
def test_nothing_differs_from_the_record(part: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "compare", part],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
