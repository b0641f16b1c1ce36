"""scripts/records: seeds as files, resumed piece by piece, and the table that is made of them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "records.py"
SHORT = ["trainer.max_epochs=1", "trainer.limit_train_batches=5", "logger=none"]


def records(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = ["--to", str(folder / "records"), "--runs", str(folder / "runs")]
    return subprocess.run(
        [sys.executable, SCRIPT, *words, *places], cwd=folder, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], str]:
    """A folder with two seeds of a short record, begun with one, and its table."""
    folder = tmp_path_factory.mktemp("records")
    done = records(folder, "record_softmax", "--seeds", "1", *SHORT)
    assert done.returncode == 0, done.stderr
    first = folder / "records" / "record_softmax" / "seed_0.json"
    before = first.stat().st_mtime_ns
    done = records(folder, "record_softmax", "--seeds", "2", *SHORT)
    assert done.returncode == 0, done.stderr
    assert first.stat().st_mtime_ns == before  # what is there is not measured again
    assert done.stderr.count("mnist-lab train") == 1
    return folder, json.loads((folder / "records.json").read_text()), done.stdout


def test_a_row_has_its_seeds_and_where_they_come_from(measured: Any) -> None:
    folder, (row,), shown = measured
    files = sorted((folder / "records" / "record_softmax").glob("seed_*.json"))
    seeds = [json.loads(path.read_text()) for path in files]
    assert [seed["seed"] for seed in seeds] == [0, 1]
    assert {seed["test_readings"] for seed in seeds} == {1}
    assert {seed["protocol"] for seed in seeds} == {"sealed"}
    accuracies = [seed["test_acc"] for seed in seeds]
    assert (row["name"], row["data"], row["n"]) == ("record_softmax", "mnist", 2)
    assert row["mean"] == pytest.approx(sum(accuracies) / 2)
    assert row["sd"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)
    low, high = row["interval"]
    assert high - low == pytest.approx(2 * 12.706 * row["sd"] / 2**0.5, rel=1e-3)
    assert row["parameters"] == 7850
    assert row["seconds"] > 0
    assert row["trained_on"] == 60_000
    assert row["overrides"] == SHORT
    assert row["anchor"]["protocol"]
    assert {"torch", "lightning", "python"} <= row["versions"].keys()
    assert f"| {100 * row['mean']:.2f} ± " in shown
    assert shown.strip() in (folder / "records.md").read_text()


def test_an_older_recipes_seeds_are_left_out(measured: Any) -> None:
    folder, rows, _ = measured
    stale = folder / "records" / "record_softmax" / "seed_7.json"
    seed = json.loads((stale.parent / "seed_0.json").read_text())
    stale.write_text(json.dumps(seed | {"seed": 7, "recipe_sha256": "0", "test_acc": 0.0}))
    assert records(folder, "--table").returncode == 0
    assert json.loads((folder / "records.json").read_text()) == rows


def test_what_is_missing_or_unknown_is_one_line(tmp_path: Path) -> None:
    done = records(tmp_path, "record_softmax", "data=kuzushiji49", f"data.root={tmp_path}")
    assert done.returncode == 1
    assert "kuzushiji49" in done.stderr.strip().splitlines()[-1]
    assert not list((tmp_path / "records").rglob("*.json"))
    done = records(tmp_path, "record_nine")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no such record" in done.stderr
