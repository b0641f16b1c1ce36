"""How everything of ill will must end: in one line, soon, and in little memory."""

import json
from pathlib import Path
from typing import Any

import pytest
from door import main
from measuring import measured

from mnist_lab.config import hydra_internals
from mnist_lab.runs.directory import MANIFEST, METRICS

SECONDS = 3.0
MEGABYTES = 300  # besides what the process had before


def assert_refused(
    arguments: list[str], codes: tuple[int, ...], capfd: pytest.CaptureFixture[str]
) -> str:
    """Assert that a command ends so, with one line, soon and in little memory; return the line."""
    code, seconds, megabytes = measured(lambda: main(arguments))
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert (code in codes, len(lines), out) == (True, 1, ""), (code, err, out)
    assert lines[0].startswith(f"mnist-lab {arguments[0]}: ")
    assert len(lines[0]) < 1000
    assert seconds < SECONDS
    assert megabytes < MEGABYTES
    return lines[0]


def finish(run_dir: Path) -> None:
    """Have a run say that it is finished."""
    (run_dir / MANIFEST).write_text('{"state": "finished", "sha256": {"model": "0", "last": "0"}}')
    figures = dict.fromkeys(("epochs", "steps", "time/fit", "time/total"), 1.0)
    (run_dir / METRICS).write_text(json.dumps(figures))


def of_this_hydra(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of refused input; under Hydra 1.4 with the exit code that it has there."""
    if hydra_internals._IS_1_3 or "next_code" not in row:
        return row
    return row | {"code": row["next_code"], "words": []}
