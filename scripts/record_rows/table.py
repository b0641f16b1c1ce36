"""Table of the records from the files of their seeds: records.json and records.md."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_lab.runs.summary import Spread
from record_rows.catalog import MEMBER, RECORDS, Record
from record_rows.measure import ROOT, SEARCH, recipe_sha256

_NOTE = """\
Written by `scripts/records`. Each run is sealed: settings that were searched were chosen on 5,000
validation images, the network was then trained on all 60,000 training images (`speedrun` on three
quarters of 55,000), and the test images were read once a seed, at its end. Settings that were not
searched are set by hand or come from the literature. Interval: 95 %, Student's t over the seeds.
Seconds are a seed's, without imports; a * marks those measured beside other jobs."""
_BUSY = 1.5  # load average over the cores above which other jobs ran beside


def gather(folder: Path) -> list[dict[str, Any]]:
    """Return the records that have a seed at least, in the catalog's order, MNIST's first."""
    rows = []
    for name in RECORDS:
        by_data: dict[str, list[dict[str, Any]]] = {}
        for path in sorted((folder / name).glob("*_*.json")):
            seed = json.loads(path.read_text(encoding="utf-8"))
            if seed["recipe_sha256"] == recipe_sha256(name, seed["overrides"]):
                by_data.setdefault(seed["data"], []).append(seed)
        rows += [_row(folder, name, data, seeds) for data, seeds in sorted(by_data.items())]
    return sorted(rows, key=lambda row: row["data"] != "mnist")


def _row(folder: Path, name: str, data: str, seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    record = RECORDS[name]
    accuracy = Spread.of([seed["test_acc"] for seed in seeds])
    half = accuracy.half
    is_mnist = data == "mnist"
    return {
        "name": name,
        "what": record.what,
        "data": data,
        "mean": accuracy.mean,
        "sd": accuracy.std,
        "interval": None if half is None else [accuracy.mean - half, accuracy.mean + half],
        "n": len(seeds),
        "n_asked": record.seeds,
        "target": record.target if is_mnist else None,
        "parameters": seeds[0]["parameters"],
        "seconds": Spread.of([seed["seconds"] for seed in seeds]).mean,
        "beside_other_jobs": any(map(_is_busy, [*seeds, *_members(folder, record)])),
        "trained_on": 60_000 - seeds[0]["val_size"],
        "test_readings": sum(seed["test_readings"] for seed in seeds),
        "search": _search(folder.parent, folder / (name if record.search else MEMBER) / SEARCH),
        "anchor": {
            "figure": record.anchor,
            "protocol": record.protocol,
            "chosen": record.chosen,
        }
        if is_mnist
        else None,
        "hardware": sorted({seed["hardware"] for seed in seeds}),
        "threads": sorted({seed["threads"] for seed in seeds}),
        "precision": seeds[0]["precision"],
        "versions": seeds[0]["versions"],
        "recipe_sha256": seeds[0]["recipe_sha256"],
        "overrides": seeds[0]["overrides"],
        "leave_one_out": seeds[0].get("leave_one_out"),
    }


def _search(parent: Path, path: Path) -> dict[str, Any] | None:
    """Return how many trials of a record's search are finished; None where there was no search."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as stream:
        states = [trial["state"] for trial in csv.DictReader(stream)]
    finished = states.count("finished")
    return {
        "state": "searched" if finished == len(states) else "partly searched",
        "finished": finished,
        "trials": len(states),
        "table": str(path.relative_to(parent)),
    }


def _members(folder: Path, record: Record) -> list[dict[str, Any]]:
    """Return the seeds whose seconds an ensemble's are."""
    if record.search:
        return []
    return [json.loads(path.read_text("utf-8")) for path in (folder / MEMBER).glob("seed_*.json")]


def _is_busy(seed: dict[str, Any]) -> bool:
    return bool(seed.get("jobs", 1) > 1 or max(seed["load_average"]) > _BUSY * seed["cores"])


def write(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write records.json and records.md beside the folder of the seeds."""
    text = json.dumps(list(rows), indent=2) + "\n"
    (folder.parent / "records.json").write_text(text, encoding="utf-8")
    lines = "\n".join(["# Records", "", _NOTE, "", *markdown(rows)]) + "\n"
    (folder.parent / "records.md").write_text(lines, encoding="utf-8")


def markdown(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield (
        "| record | data | test accuracy, mean ± sd | 95 % interval | n | target | parameters | "
        "seconds | on | published | its protocol | settings |"
    )
    yield "|" + " --- |" * 12
    for row in rows:
        anchor = row["anchor"] or {"figure": None, "protocol": ""}
        cells = [
            f"`{row['name']}`",
            row["data"],
            accuracy_text(row),
            interval_text(row),
            f"{row['n']} of {row['n_asked']}" if row["n"] < row["n_asked"] else str(row["n"]),
            f"{100 * row['target']:.2f} %" if row["target"] else "",
            f"{row['parameters']:,}",
            seconds_text(row),
            "; ".join(row["hardware"]),
            f"{anchor['figure']:g} %" if anchor["figure"] else "",
            anchor["protocol"],
            ("" if row["data"] == "mnist" else "chosen on mnist: ") + search_text(row["search"]),
        ]
        yield f"| {' | '.join(cells)} |"


def accuracy_text(row: Mapping[str, Any]) -> str:
    """Return a record's mean and standard deviation, in per cent."""
    spread = "" if row["sd"] is None else f" ± {100 * row['sd']:.2f}"
    return f"{100 * row['mean']:.2f}{spread} %"


def interval_text(row: Mapping[str, Any]) -> str:
    """Return a record's 95 % interval, in per cent."""
    if row["interval"] is None:
        return ""
    low, high = row["interval"]
    return f"{100 * low:.2f} to {100 * high:.2f} %"


def seconds_text(row: Mapping[str, Any]) -> str:
    """Return a seed's seconds, marked where other jobs ran beside."""
    return f"{row['seconds']:.1f}{'*' * row['beside_other_jobs']}"


def search_text(search: dict[str, Any] | None) -> str:
    """Return how far a record's settings were searched."""
    if search is None:
        return "not searched"
    counts = f"{search['finished']} of {search['trials']} trials"
    return f"{search['state']} ({counts}): `benchmarks/{search['table']}`"


def default_folder() -> Path:
    """Return the folder of the seeds' files."""
    return ROOT / "benchmarks" / "records"
