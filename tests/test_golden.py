"""What every version so far has done, this one does: tests/golden/README.md."""

import importlib.util
import json
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


def test_only_leaves_the_rest_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_CBWR"):  # which the script sets
        monkeypatch.setenv(name, "1")
    spec = importlib.util.spec_from_file_location("golden", SCRIPT)
    assert spec
    assert spec.loader
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)
    monkeypatch.setattr(golden, "GOLDEN", tmp_path)
    golden.write("lines", {"key": None, "found": {"a": 1, "b": 2}}, "")
    golden.write("lines", {"key": None, "found": {"b": 3}}, "b")
    record = json.loads((tmp_path / "lines.json").read_text())
    assert record["found"] == {"a": 1, "b": 3}
    with pytest.raises(SystemExit, match="record all of it, or none"):
        golden.write("lines", {"key": "another machine", "found": {}}, "b")
