"""Table of a sweep's trials, and the files that it leaves."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnist_lab.runs import directory
from mnist_lab.runs.manifest import SEEDS, RunState
from mnist_lab.runs.summary import Spread, csv_text
from mnist_lab.sweeps.records import Record

CSV = "leaderboard.csv"
JSON = "leaderboard.json"
_JSON_ONLY = "test/acc_class_"  # metrics that the CSV does not have


@dataclass(frozen=True)
class Group:
    """Finished trials that differ in nothing but their seed, by number.

    Args:
        records: one or more.
        values: means of the objectives; None where no trial has them.
    """

    records: list[Record]
    values: list[float] | None

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Group":
        """Return the group of some trials."""
        values = [record.values for record in records if record.values]
        means = [statistics.fmean(column) for column in zip(*values, strict=True)]
        return cls(sorted(records, key=lambda record: record.number), means or None)

    @property
    def measured(self) -> list[Record]:
        """The trials that have values of the objectives."""
        return [record for record in self.records if record.values]

    @property
    def count(self) -> int:
        """The number of trials that the means are over."""
        return len(self.measured)

    def spread(self, name: str) -> Spread | None:
        """Return a metric over the trials that are counted; where none is, over all that have it.

        None where no trial has it.
        """
        records = self.measured or self.records
        known = [value for record in records if (value := record.metrics.get(name)) is not None]
        return Spread.of(known) if known else None


class TrialTable:
    """The trials of a sweep, the best first.

    Finished trials that differ in their seed alone are a group. Groups are sorted by the mean of
    the first objective; pruned trials follow, by the number of epochs and the first objective, then
    all others by number.

    Args:
        records: the trials.
        objectives: metrics that trials are ranked by, each with its mode.
    """

    def __init__(self, records: Sequence[Record], objectives: Mapping[str, str]) -> None:
        self.objectives = dict(objectives)
        self._signs = [1 if mode == "max" else -1 for mode in objectives.values()]
        finished: dict[Any, list[Record]] = {}
        for record in records:
            if record.state == RunState.FINISHED:
                finished.setdefault(_without_seed(record), []).append(record)
        self.groups = sorted(map(Group.of, finished.values()), key=self._group_key)
        others = [record for record in records if record.state != RunState.FINISHED]
        self.records = [record for group in self.groups for record in group.records]
        self.records += sorted(others, key=self._key)

    def _group_key(self, group: Group) -> tuple[Any, ...]:
        worse = -self._signs[0] * group.values[0] if group.values else float("inf")
        return worse, group.records[0].number

    def _key(self, record: Record) -> tuple[Any, ...]:
        worse = -self._signs[0] * record.values[0] if record.values else float("inf")
        epoch = record.report.epoch if record.report else 0
        return record.state != RunState.PRUNED, -epoch, worse, record.number

    @property
    def best_group(self) -> Group | None:
        """The finished trials that are best by the first objective, in the mean over seeds."""
        first = next(iter(self.groups), None)
        return first if first and first.values else None

    @property
    def best(self) -> Record | None:
        """The first trial of the best group."""
        group = self.best_group
        return group.measured[0] if group else None

    def best_text(self) -> str:
        """Return the first objective's value of the best trial, and of its group."""
        group, best, name = self.best_group, self.best, next(iter(self.objectives))
        assert group is not None
        assert best is not None
        assert best.values is not None
        text = f"{name}={best.values[0]:.4f}"
        spread = group.spread(name)
        if spread is not None and spread.std is not None:
            text += f" (mean {spread.mean:.4f}, standard deviation {spread.std:.4f}, "
            text += f"{group.count} seeds)"
        return text

    def front(self) -> set[int]:
        """Return the numbers of the trials whose group no other beats in every objective."""
        ranked = [group for group in self.groups if group.values]
        return {
            record.number
            for group in ranked
            if not any(self._beats(other.values or [], group.values or []) for other in ranked)
            for record in group.records
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
        ranked = [*(group.records for group in self.groups)]
        ranked += [[record] for record in self.records if record.state != RunState.FINISHED]
        rows = [
            self._row(rank, record)
            for rank, records in enumerate(ranked, start=1)
            for record in records
        ]
        directory.write(sweep_dir / CSV, csv_text(rows))
        content = {
            "objectives": self.objectives,
            "best": self.best.number if self.best else None,
            "groups": [[record.number for record in group.records] for group in self.groups],
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


def _without_seed(record: Record) -> tuple[Any, ...]:
    items = sorted(record.params.items())
    own = [(key, value) for key, value in items if key.lstrip("+") not in SEEDS]
    return (*own, *((phase.epoch, *phase.params.values()) for phase in record.lineage))
