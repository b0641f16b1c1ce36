"""scripts/records: seeds as files, resumed piece by piece, and the table that is made of them."""

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "records.py"
SEARCH = ["optimizer.lr=1e-3,3e-3", "data.batch_size=512", "model.label_smoothing=0"]
SHORT = ["trainer.max_epochs=1", "trainer.limit_train_batches=5", "logger=none"]


def command(folder: Path, *words: str) -> list[str]:
    places = ["--to", str(folder / "records"), "--runs", str(folder / "runs")]
    return [sys.executable, str(SCRIPT), *words, *places]


def records(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *words), cwd=folder, capture_output=True, text=True)


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


@pytest.mark.thorough
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
    assert row["search"] is None
    assert "| not searched |" in shown
    assert not any("commit" in seed for seed in seeds)  # the recipe's hash outlives a rebase
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


@pytest.mark.thorough
def test_what_is_missing_or_unknown_is_one_line(tmp_path: Path) -> None:
    done = records(tmp_path, "record_softmax", "data=kuzushiji49", f"data.root={tmp_path}")
    assert done.returncode == 1
    assert "kuzushiji49" in done.stderr.strip().splitlines()[-1]
    assert not list((tmp_path / "records").rglob("*.json"))
    done = records(tmp_path, "record_nine")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no such record" in done.stderr


def test_nothing_is_trained_any_more_where_a_seed_failed(tmp_path: Path) -> None:
    done = records(tmp_path, "record_softmax", "--seeds", "4", "model.hidden_dims=[8]")
    assert done.returncode == 1
    assert done.stderr.count("mnist-lab train experiment=record_softmax") <= 3  # two and the line


def test_a_comment_is_no_part_of_a_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    measure = importlib.import_module("record_rows.measure")
    recipe, parent = (measure.RECIPES / f"record_{name}.yaml" for name in ("ensemble", "cnn"))
    monkeypatch.setattr(measure, "RECIPES", tmp_path)
    hashes = []
    for old, new in (("", ""), ("# Source: ", "# Cause: "), ("lr: 1e-2", "lr: 3e-2")):
        for path in (recipe, parent):
            (tmp_path / path.name).write_text(path.read_text().replace(old, new))
        hashes.append(measure.recipe_sha256("record_ensemble", []))
    assert hashes[0] == hashes[1] != hashes[2]


def test_each_search_is_one_that_can_be_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from mnist_lab import compose

    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    for name, record in importlib.import_module("record_rows.catalog").RECORDS.items():
        varied = [word for word in record.search.split() if "launcher" not in word]
        words = [
            f"{override.key_or_group}={next(override.sweep_string_iterator())}"
            if override.is_sweep_override()
            else override.input_line
            for override in OverridesParser.create().parse_overrides(varied)
        ]
        config = compose([f"experiment={name}", *words])
        assert bool(words) == (name != "record_ensemble")
        if words:
            assert config.data.val_size == 5000
            assert config.trainer.limit_val_batches is None or config.trainer.limit_val_batches > 0


@pytest.mark.slow
def test_a_search_is_kept_beside_the_seeds_and_counted(tmp_path: Path) -> None:
    done = records(tmp_path, "--search", "record_softmax", *SHORT, *SEARCH)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "records" / "record_softmax" / "chosen_by.csv"
    assert done.stdout.strip() == str(path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert {(row["state"], row["optimizer.lr"]) for row in rows} == {
        ("finished", "0.001"),
        ("finished", "0.003"),
    }
    assert len(rows) == 4  # of weight decay, two values are in the search itself
    assert not any("test" in name or name == "directory" for name in rows[0])
    done = records(tmp_path, "record_softmax", "--seeds", "1", *SHORT)
    assert "searched (4 of 4 trials): `benchmarks/records/record_softmax/" in done.stdout
    (row,) = json.loads((tmp_path / "records.json").read_text())
    assert (row["search"]["state"], row["search"]["finished"]) == ("searched", 4)
    path.write_text(path.read_text().replace("finished", "interrupted", 1))
    assert "partly searched (3 of 4 trials)" in records(tmp_path, "--table").stdout
    done = records(tmp_path, "--search", "record_ensemble")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "record_cnn" in done.stderr


LONGER = ["record_softmax", "--seeds", "1", "trainer.max_epochs=2", "logger=none"]
LONGER += ["callbacks.checkpoint.every_n_steps=20"]


def result(folder: Path) -> tuple[float, int, dict[str, str]]:
    """Return accuracy, readings and hashes of the weights of a seed."""
    seed = json.loads((folder / "records" / "record_softmax" / "seed_0.json").read_text())
    (manifest,) = (folder / "runs").rglob("manifest.json")
    return seed["test_acc"], seed["test_readings"], json.loads(manifest.read_text())["sha256"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[float, int, dict[str, str]]:
    """The result of a seed that nothing has killed."""
    folder = tmp_path_factory.mktemp("whole")
    done = records(folder, *LONGER)
    assert done.returncode == 0, done.stderr
    return result(folder)


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [True, False], ids=["with its training", "alone"])
def test_killed_and_started_again_it_goes_on(
    whole_group: bool, uninterrupted: Any, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        command(tmp_path, *LONGER),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    begun = time.monotonic()
    while not list(tmp_path.rglob("last.ckpt")):
        assert process.poll() is None
        assert time.monotonic() - begun < 300
        time.sleep(0.05)
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    assert not list(tmp_path.rglob("seed_*.json"))
    done = records(tmp_path, *LONGER)
    assert done.returncode == 0, done.stderr
    assert result(tmp_path) == uninterrupted


@pytest.mark.slow
def test_an_ensemble_is_the_mean_of_its_members_probabilities(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    measure = importlib.import_module("record_rows.measure")
    monkeypatch.setattr(measure, "MEMBERS", 2)
    small = [*SHORT, "model.channels=[4,4]", "model.kernel_size=3", "callbacks.ema.decay=0.5"]
    runs = tmp_path / "runs"
    (record,) = measure.known(["record_ensemble"])
    measure.measure(record, 1, small, tmp_path / "records", runs)
    seed = json.loads((tmp_path / "records" / "record_ensemble" / "seed_1.json").read_text())
    from mnist_lab.inference.evaluate import predict_test_images

    members = sorted(runs.glob("record_cnn_*/*"))
    assert [path.name for path in members] == ["2", "3"]  # disjoint from those of seed 0
    predicted = [predict_test_images(path) for path in members]
    total = predicted[0].probs.double() + predicted[1].probs.double()
    accuracy = (total.argmax(dim=1) == predicted[0].labels).double().mean().item()
    assert seed["test_acc"] == accuracy
    others = [predicted[1].accuracy, predicted[0].accuracy]
    assert seed["leave_one_out"] == pytest.approx(others, abs=1e-7)
    (row,) = importlib.import_module("record_rows.table").gather(tmp_path / "records")
    assert (row["name"], row["leave_one_out"]) == ("record_ensemble", seed["leave_one_out"])
    one = json.loads((members[0] / "metrics.json").read_text())
    assert seed["parameters"] == 2 * one["num_params"]
    assert seed["test_readings"] == 4  # of each member one by its training, one for the ensemble
