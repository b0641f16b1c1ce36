"""Leaderboard of a sweep's trials, and the files that it leaves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnist_lab.runs import directory
from mnist_lab.runs.manifest import RunState
from mnist_lab.runs.summary import csv_text
from mnist_lab.sweeps.records import Record

CSV = "leaderboard.csv"
JSON = "leaderboard.json"
_JSON_ONLY = "test/acc_class_"  # metrics that the CSV does not have
_ORDER = {RunState.FINISHED: 0, RunState.PRUNED: 1}


class Leaderboard:
    """The trials of a sweep, the best first.

    Finished trials are sorted by the first objective; pruned ones follow, by the number of epochs
    and the first objective, then all others by number.

    Args:
        records: the trials.
        objectives: metrics that trials are ranked by, each with its mode.
    """

    def __init__(self, records: Sequence[Record], objectives: Mapping[str, str]) -> None:
        self.objectives = dict(objectives)
        self._signs = [1 if mode == "max" else -1 for mode in objectives.values()]
        self.records = sorted(records, key=self._key)

    def _key(self, record: Record) -> tuple[Any, ...]:
        worse = -self._signs[0] * record.values[0] if record.values else float("inf")
        epoch = record.report.epoch if record.report else 0
        return _ORDER.get(record.state, 2), -epoch, worse, record.number

    @property
    def finished(self) -> list[Record]:
        """The finished trials."""
        return [record for record in self.records if record.state == RunState.FINISHED]

    @property
    def best(self) -> Record | None:
        """The best finished trial by the first objective."""
        first = next(iter(self.finished), None)
        return first if first and first.values else None

    def front(self) -> set[int]:
        """Return the numbers of the trials that no other beats in every objective."""
        ranked = [(record.number, record.values) for record in self.finished if record.values]
        return {
            number
            for number, values in ranked
            if not any(self._beats(others, values) for _, others in ranked)
        }

    def _beats(self, values: Sequence[float], others: Sequence[float]) -> bool:
        pairs = zip(self._signs, values, others, strict=True)
        gains = [sign * (value - other) for sign, value, other in pairs]
        return min(gains) >= 0 and max(gains) > 0

    def write(self, sweep_dir: Path) -> None:
        """Write ``leaderboard.csv`` and ``leaderboard.json``.

        Raises:
            StorageError: a file cannot be written.
        """
        rows = [self._row(rank, record) for rank, record in enumerate(self.records, start=1)]
        directory.write(sweep_dir / CSV, csv_text(rows))
        content = {
            "objectives": self.objectives,
            "best": self.best.number if self.best else None,
            "front": sorted(self.front()) if len(self.objectives) > 1 else None,
            "trials": [asdict(record) for record in self.records],
        }
        directory.write(sweep_dir / JSON, json.dumps(content, indent=2, default=str) + "\n")

    def _row(self, rank: int, record: Record) -> dict[str, Any]:
        row: dict[str, Any] = {"rank": rank, "trial": record.number, "state": record.state}
        row |= {key.lstrip("+"): value for key, value in record.params.items()}
        row |= dict.fromkeys(self.objectives)
        if record.values:
            row |= dict(zip(self.objectives, record.values, strict=False))
        for name, value in record.metrics.items():
            if name not in row and not name.startswith(_JSON_ONLY):
                row[name] = value
        return row | {"directory": record.directory, "error": record.error}
