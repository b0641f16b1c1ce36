"""Measurement of a record's seed: trains the recipe and keeps the result as a small file."""

import csv
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from benchmark_rows.machine import describe

from mnist_lab.errors import BusyError
from record_rows.catalog import MEMBER, MEMBERS, RECORDS, Record

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "conf" / "experiment"
SEARCH = "chosen_by.csv"  # the table of a record's search, beside its seeds
_WAIT = 5  # seconds before a directory that another process holds is asked for again


def recipe_sha256(name: str, overrides: Sequence[str]) -> str:
    """Return the hash of a recipe's settings, of those that it builds on, and of what is typed.

    Comments are no settings: seeds stay those of a recipe that is explained anew.
    """
    recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    parents = [entry for entry in recipe["defaults"] if str(entry).startswith("record_")]
    hashes = [recipe_sha256(parent, []) for parent in parents]
    content = [json.dumps(recipe, sort_keys=True), *hashes, *sorted(overrides)]
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


def measure(
    record: Record, seed: int, overrides: Sequence[str], folder: Path, runs: Path, jobs: int = 1
) -> None:
    """Measure one seed, and write its file.

    Args:
        record: the record.
        seed: of its run.
        overrides: what is typed beside it.
        folder: of the results.
        runs: folder of the runs.
        jobs: how many trainings go on at a time.

    Raises:
        SystemExit: the run fails, as where the files of a set are missing.
    """
    load = os.getloadavg()[0]
    if record.name == "record_ensemble":
        result = _ensemble(seed, overrides, runs)
    else:
        result = _figures(train(record.name, seed, overrides, runs))
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
        "jobs": jobs,
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        **{name: facts[name] for name in ("versions", "date")},
    }
    path = seed_file(folder, record.name, seed, overrides)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def _figures(run_dir: Path) -> dict[str, Any]:
    """Return what a seed's file says of its run."""
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
    """Train a seed of a recipe, or resume it, where it is not finished; return its directory."""
    key = recipe_sha256(name, overrides)[:8]
    run_dir = runs / f"{name}_{data_of(overrides)}_{key}" / str(seed)
    words = [f"experiment={name}", "protocol=sealed", f"seed={seed}", *overrides]
    while not (run_dir / "metrics.json").exists():
        _lab(["train", *words, f"hydra.run.dir={run_dir}"])
    return run_dir


def search(
    record: Record, overrides: Sequence[str], folder: Path, runs: Path, jobs: int = 1
) -> Path:
    """Run a record's sealed sweep on validation, and keep its table beside the seeds.

    Args:
        record: the record.
        overrides: what is typed, in the place of the search's own values of the same keys.
        folder: of the results.
        runs: folder of the runs, where a sweep that was killed is resumed.
        jobs: how many processes share the sweep.

    Raises:
        SystemExit: the record has no search of its own, or the sweep fails.
    """
    if not record.search:
        raise SystemExit(f"records: {record.name}: has no search; its settings are record_cnn's")
    typed = {_key(text) for text in overrides}
    varied = [text for text in record.search.split() if _key(text) not in typed]
    words = ["-m", f"experiment={record.name}", "protocol=sealed", *varied, *overrides]
    name = hashlib.sha256("\n".join(words).encode()).hexdigest()[:8]
    sweep = runs / f"{record.name}_search_{name}"
    command = ["train", *words, f"hydra.sweep.dir={sweep}"]
    with ThreadPoolExecutor(jobs) as pool:
        while not all([*pool.map(_lab, [command] * jobs)]):
            pass
    path = folder / record.name / SEARCH
    path.parent.mkdir(parents=True, exist_ok=True)
    with (sweep / "leaderboard.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = [name for name in rows[0] if name not in ("directory", "error")]  # this machine's
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _key(override: str) -> str:
    return override.partition("=")[0]


def _lab(words: Sequence[str]) -> bool:
    """Run a command of the lab; return False, after a while, if another process has its directory.

    A training outlives the script that started it, where that was killed.
    """
    print(f"mnist-lab {' '.join(words)}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "mnist_lab", *words]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode == BusyError.exit_code:
        time.sleep(_WAIT)
        return False
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise SystemExit(f"records: mnist-lab {' '.join(words)}: {lines[-1]}")
    return True


def _ensemble(number: int, overrides: Sequence[str], runs: Path) -> dict[str, Any]:
    """Average ten runs of record_cnn, and nine of them ten times."""
    import torch

    from mnist_lab.inference.evaluate import predict_test_images

    seeds = range(number * MEMBERS, (number + 1) * MEMBERS)
    run_dirs = [train(MEMBER, seed, overrides, runs) for seed in seeds]
    predicted = [predict_test_images(run_dir) for run_dir in run_dirs]
    members = [_figures(run_dir) for run_dir in run_dirs]  # each has two readings now
    labels, probs = predicted[0].labels, torch.stack([each.probs.double() for each in predicted])

    def accuracy(total: torch.Tensor) -> float:
        return float((total.argmax(dim=1) == labels).double().mean())

    total = probs.sum(dim=0)
    summed = ("parameters", "seconds", "seconds_of_fit", "test_readings")
    return {
        **members[0],
        **{name: sum(member[name] for member in members) for name in summed},
        "test_acc": accuracy(total),
        "leave_one_out": [accuracy(total - each) for each in probs],
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
