"""What a run came to, as far as it must be the same however often it was broken off."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from mnist_lab.files.checkpoint import read_checkpoint, sha256_of
from mnist_lab.runs.directory import BEST, LAST


def outcome(run_dir: Path, order: Path | None = None) -> dict[str, Any]:
    """Return the hashes of weights and optimizer, the metrics, the scalars and the sample order."""
    last, best = read_checkpoint(run_dir / LAST), read_checkpoint(run_dir / BEST)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    csv = run_dir / "metrics.csv"
    return {
        "last": sha256_of(last["state_dict"]),
        "optimizer": sha256_of(last["optimizer_states"]),
        "schedule": sha256_of(last["lr_schedulers"]),
        "best": sha256_of(best["state_dict"]),
        "metrics": {key: value for key, value in metrics.items() if not key.startswith("time/")},
        "scalars": scalars(run_dir),
        "csv_rows": len(csv.read_text().splitlines()) if csv.exists() else 0,
        "order": sample_order(order) if order else {},
        "others": {
            str(path.relative_to(run_dir)): sha256_of(read_checkpoint(path.resolve())["state_dict"])
            for path in sorted(run_dir.glob("checkpoints/*/*"))
        },
        "stray": sorted(str(path.name) for path in run_dir.rglob(".*.partial")),
    }


def scalars(run_dir: Path) -> dict[str, list[list[Any]]]:
    """Return each scalar's steps and values, doubled ones too; times, which differ, as steps."""
    found: dict[str, list[list[Any]]] = {}
    for path in sorted(run_dir.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    is_time = value.tag.startswith("time/") or value.tag == "train/time_epoch"
                    number = None if is_time else value.tensor.float_val[0]
                    found.setdefault(value.tag, []).append([event.step, number])
    return {tag: sorted(points, key=lambda one: one[0]) for tag, points in found.items()}


def sample_order(path: Path) -> dict[int, str]:
    """Return the checksum of each batch; of one that came twice, both if they differ."""
    seen: dict[int, Counter[str]] = {}
    for line in path.read_text().splitlines():
        step, _, checksum = line.partition(" ")
        if len(checksum) == 8:  # a kill may have cut the last line
            seen.setdefault(int(step), Counter())[checksum] += 1
    return {step: "/".join(sorted(found)) for step, found in seen.items()}


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return the names of what is not the same."""
    return [name for name in expected if expected[name] != found[name]]
