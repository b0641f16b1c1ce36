"""Measurement of a record's seed: trains the recipe and keeps the result as a small file."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark_rows.machine import describe

from record_rows.catalog import MEMBERS, RECORDS, Record

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "conf" / "experiment"


def recipe_sha256(name: str, overrides: Sequence[str]) -> str:
    """Return the hash of a recipe's file, of those that it builds on, and of what is typed."""
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    parents = [line[4:] for line in text.splitlines() if line.startswith("  - record_")]
    content = [text, *(recipe_sha256(parent, []) for parent in parents), *sorted(overrides)]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()


def data_of(overrides: Sequence[str]) -> str:
    """Return the name of the set that is trained on."""
    given = [text.partition("=")[2] for text in overrides if text.startswith("data=")]
    return given[-1] if given else "mnist"


def seed_file(folder: Path, name: str, seed: int, overrides: Sequence[str]) -> Path:
    """Return the file of a seed's result."""
    data = data_of(overrides)
    return folder / name / (f"seed_{seed}.json" if data == "mnist" else f"{data}_{seed}.json")


def is_measured(path: Path, name: str, overrides: Sequence[str]) -> bool:
    """Return whether a seed's result is there, of the recipe as it stands."""
    if not path.exists():
        return False
    content = json.loads(path.read_text(encoding="utf-8"))
    return bool(content["recipe_sha256"] == recipe_sha256(name, overrides))


def measure(record: Record, seed: int, overrides: Sequence[str], folder: Path, runs: Path) -> None:
    """Measure one seed, and write its file.

    Raises:
        SystemExit: the run fails, as where the files of a set are missing.
    """
    load = os.getloadavg()[0]
    if record.name == "record_ensemble":
        result = _ensemble(seed, overrides, runs)
    else:
        result = _trained(record.name, seed, overrides, runs)
    facts = describe({"gpu": result["gpu"], "threads": result["threads"], "bf16": None})
    parts = [facts["cpu"], f"{facts['cores']} cores", facts["gpu"] or ""]
    content = {
        "name": record.name,
        "data": data_of(overrides),
        "seed": seed,
        "overrides": list(overrides),
        "recipe_sha256": recipe_sha256(record.name, overrides),
        **result,
        "hardware": ", ".join(filter(None, parts)),
        "cores": facts["cores"],
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        **{name: facts[name] for name in ("versions", "commit", "date")},
    }
    path = seed_file(folder, record.name, seed, overrides)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def _trained(name: str, seed: int, overrides: Sequence[str], runs: Path) -> dict[str, Any]:
    """Train a seed, or go on with it, and return its figures."""
    run_dir = train(name, seed, overrides, runs)
    metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    manifest = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    config = manifest["config"]
    return {
        "test_acc": metrics["test/acc"],
        "parameters": int(metrics["num_params"]),
        "seconds": metrics["time/total"],
        "seconds_of_fit": metrics["time/fit"],
        "epochs": metrics["epochs"],
        "val_size": config["data.val_size"],
        "protocol": config["protocol"],
        "test_readings": len(manifest.get("test_readings", [])),
        "precision": manifest["precision"],
        "threads": manifest["threads"],
        "gpu": None if manifest["device"] == "cpu" else manifest["device"],
    }


def train(name: str, seed: int, overrides: Sequence[str], runs: Path) -> Path:
    """Train a seed of a recipe where it is not finished, and return the run's directory."""
    key = recipe_sha256(name, overrides)[:8]
    run_dir = runs / f"{name}_{data_of(overrides)}_{key}" / str(seed)
    if not (run_dir / "metrics.json").exists():
        words = [f"experiment={name}", "protocol=sealed", f"seed={seed}", *overrides]
        _lab(["train", *words, f"hydra.run.dir={run_dir}"])
    return run_dir


def search(record: Record, folder: Path, runs: Path) -> Path:
    """Run a record's sealed sweep on validation, and keep its table beside the seeds."""
    sweep = runs / f"{record.name}_search"
    words = ["-m", f"experiment={record.name}", "protocol=sealed", *record.search.split()]
    _lab(["train", *words, f"hydra.sweep.dir={sweep}"])
    path = folder / record.name / "chosen_by.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((sweep / "leaderboard.csv").read_text(encoding="utf-8"), encoding="utf-8")
    return path


def _lab(words: Sequence[str]) -> None:
    print(f"mnist-lab {' '.join(words)}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "mnist_lab", *words]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise SystemExit(f"records: mnist-lab {' '.join(words)}: {lines[-1]}")


def _ensemble(number: int, overrides: Sequence[str], runs: Path) -> dict[str, Any]:
    """Average ten runs of record_cnn, and nine of them ten times."""
    import torch

    from mnist_lab.inference.evaluate import predict_test_images

    seeds = range(number * MEMBERS, (number + 1) * MEMBERS)
    members = [_trained("record_cnn", seed, overrides, runs) for seed in seeds]
    predicted = [predict_test_images(train("record_cnn", seed, overrides, runs)) for seed in seeds]
    labels, probs = predicted[0].labels, torch.stack([each.probs.double() for each in predicted])

    def accuracy(total: torch.Tensor) -> float:
        return float((total.argmax(dim=1) == labels).double().mean())

    total = probs.sum(dim=0)
    sums = {name: sum(member[name] for member in members) for name in ("parameters", "seconds")}
    return {
        **members[0],
        **sums,
        "test_acc": accuracy(total),
        "leave_one_out": [accuracy(total - each) for each in probs],
        "seconds_of_fit": sum(member["seconds_of_fit"] for member in members),
        "test_readings": MEMBERS * 2,
    }


def known(names: Sequence[str]) -> list[Record]:
    """Return records by their names, all where none is named.

    Raises:
        SystemExit: there is no such record.
    """
    if wrong := set(names) - set(RECORDS):
        raise SystemExit(
            f"records: {', '.join(sorted(wrong))}: no such record; there are {', '.join(RECORDS)}"
        )
    return [RECORDS[name] for name in names or RECORDS]
