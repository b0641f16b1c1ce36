"""What every version so far has done, this one does: tests/golden/README.md."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the records, which are in an empty folder."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    golden = importlib.import_module("golden_rows.records")
    monkeypatch.setattr(golden, "GOLDEN", tmp_path)
    return golden


def test_only_leaves_the_rest_of_a_record(tmp_path: Path, golden: Any) -> None:
    golden.write("lines", {"key": None, "found": {"a": 1, "b": 2}}, "")
    golden.write("lines", {"key": None, "found": {"b": 3}}, "b")
    record = json.loads((tmp_path / "lines.json").read_text())
    assert record["found"] == {"a": 1, "b": 3}
    with pytest.raises(SystemExit, match="record all of it"):
        golden.write("lines", {"key": {"processor": "Another One"}, "found": {}}, "b")


def test_each_processor_has_a_record_of_its_own(tmp_path: Path, golden: Any, capsys: Any) -> None:
    here = golden.key()
    figures = {"run": {"test/acc": 0.9, "test/loss": 0.3, "sha256": {"model": "a"}}}
    golden.write("runs", {"key": here | {"processor": "One"}, "found": figures}, "")
    far = {"run": {"test/acc": 0.91, "test/loss": 0.3, "sha256": {"model": "b"}}}

    def make(*_: Any) -> Any:
        return {"key": here, "found": far}

    (line,) = golden.compare("runs", make, "")
    assert line == "runs: run: test/acc: 0.9 recorded, 0.91 now"
    near = {"run": far["run"] | {"test/acc": 0.912}}
    golden.write("runs", {"key": here | {"processor": "The Other (R)"}, "found": near}, "")
    assert (tmp_path / "runs.the-other-r.json").exists()
    assert golden.compare("runs", make, "") == []  # as the nearest record has it
    assert "figures are compared, not bits" in capsys.readouterr().out
    golden.write("runs", {"key": here, "found": near}, "")
    (line,) = golden.compare("runs", make, "")
    assert line == "runs: run: test/acc: 0.912 recorded, 0.91 now"  # to the bit here
    golden.write("runs", {"key": here, "found": {}}, "")
    assert golden.compare("runs", make, "") == []  # it has no record of this run any more
