import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("benchmark")
    rows = ("data/torchvision_0", "data/lab", "step/mlp_65/raw", "step/mlp_65/lab")
    files = ("--json", folder / "all.json", "--report", folder / "report.md")
    finished = run("--tiny", *rows, "step/mlp_65/keras", *files)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    content = json.loads((folder / "all.json").read_text(encoding="utf-8"))
    return finished.stdout, content, (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_json_has_the_machine_and_all_raw_figures(measured):
    _, content, _ = measured
    assert {"cpu", "cores", "gpu", "os", "versions", "threads", "date"} <= content["machine"].keys()
    assert {"python", "torch", "lightning", "mnist_lab"} <= content["machine"]["versions"].keys()
    tables = {table["name"]: table for table in content["tables"]}
    assert list(tables) == ["step/mlp_65", "data"]
    for table in tables.values():
        for row in table["rows"]:
            if row["skipped"]:
                assert "median" not in row
                continue
            assert row["failed"] is None
            assert row["figures"] == [run["figure"] for run in row["runs"]]
            assert 0 < row["min"] <= row["median"] <= row["max"]
        assert table["rows"][0]["ratio"] == 1


@pytest.mark.slow
def test_step_rows_leave_the_first_epoch_out(measured):
    _, content, _ = measured
    raw, lab = content["tables"][0]["rows"][:2]
    assert [row["name"] for row in (raw, lab)] == ["raw", "lab"]
    for row in (raw, lab):
        assert len(row["runs"][0]["epoch_seconds"]) == content["size"]["mlp_epochs"] - 1
        assert row["runs"][0]["scaled_by"] == pytest.approx(50)  # 11 of 550 batches
    assert lab["runs"][0]["precision"] == "32-true"
    assert lab["runs"][0]["fit_seconds_per_epoch"] > 0


@pytest.mark.slow
def test_tables_and_report_say_what_was_scaled_up(measured):
    text, _, markdown = measured
    for shown in (text, markdown):
        assert "mnist-lab train, everything on" in shown
        assert "scaled up from 1/50 of the batches" in shown
        assert "samples/s" in shown
    assert markdown.startswith("# Benchmark, ")
    assert "| raw loop, float32 |" in markdown


@pytest.mark.slow
def test_a_search_is_measured_by_its_best_its_epochs_and_its_time(tmp_path):
    finished = run("--tiny", "search", "--json", tmp_path / "search.json")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (table,) = json.loads((tmp_path / "search.json").read_text())["tables"]
    (to_the_end,), (halved,), (basic,) = (row["runs"] for row in table["rows"])
    assert to_the_end["epochs"] == basic["epochs"] == 1
    assert 0.1 < halved["epochs"] < 0.3  # 16 trials: 16 + 5 * 2 + 1 * 9 of 192 epochs
    assert 0.1 < halved["figure"] <= 1
    assert len(to_the_end["best"]) == 5


def test_an_unknown_row_is_refused():
    finished = run("step/mlp_66")
    assert finished.returncode == 2
    assert finished.stderr.startswith("benchmark.py: step/mlp_66: no such group, table or row")


def test_the_command_where_no_command_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from benchmark_rows import commands

    python = sys.executable
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    _, *words = commands.mnist_lab()
    done = subprocess.run([python, *words, "train", "--help"], capture_output=True, text=True)
    assert "usage: mnist-lab train" in done.stdout
