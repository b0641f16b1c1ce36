"""The notebook of docs/ runs as it stands, and what is stored of its last run is fit to be read."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
MAX_BYTES = 60_000
KINDS = {"text/plain", "image/png", "application/vnd.plotly.v1+json"}


def outputs(notebook: Any) -> list[list[Any]]:
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def check(notebook: Any) -> None:
    """Check that outputs are whole: no error or warning, widget or frame of a bar."""
    for output in (output for cell in outputs(notebook) for output in cell):
        assert output.output_type != "error", output.traceback
        assert output.get("name", "stdout") == "stdout", output.text
        assert set(output.get("data", {})) <= KINDS
        text = output.get("text") or output.data.get("text/plain", "")
        assert "warning" not in text.lower()
        assert "\r" not in text
        assert "░" not in text


def test_stored_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    check(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert NOTEBOOK.stat().st_size < MAX_BYTES


@pytest.mark.slow
def test_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    before = [[output.output_type for output in cell] for cell in outputs(notebook)]
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, resources=where, timeout=300, coalesce_streams=True).execute()
    check(notebook)
    assert [[output.output_type for output in cell] for cell in outputs(notebook)] == before
    progress = outputs(notebook)[1][0].data["text/plain"].splitlines()
    assert [line[:21] for line in progress] == ["epoch 1/2  train/loss", "epoch 2/2  train/loss"]
