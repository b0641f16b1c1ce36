"""What a sweep came to: a table, the same for other programs, and the best config as a recipe."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mnist_lab.runs import directory
from mnist_lab.sweeps.records import FAILED, FINISHED, PRUNED, Record, counts, short

CSV = "leaderboard.csv"
JSON = "leaderboard.json"
_SHOWN = 10  # rows of the table
_FILE_WIDTH = 160  # columns, where no terminal says how many it has
_LONG = "test/acc_class_"  # metrics that only the JSON has
_ORDER = {FINISHED: 0, PRUNED: 1}


class Leaderboard:
    """The trials of a sweep, the best first.

    Finished ones come first, by the first objective, then pruned ones by how far they came, then
    the rest by number.

    Args:
        records: the trials.
        objectives: what they are ranked by, metric and mode.
    """

    def __init__(self, records: Sequence[Record], objectives: Mapping[str, str]) -> None:
        self._objectives = dict(objectives)
        self._signs = [1 if mode == "max" else -1 for mode in objectives.values()]
        self.records = sorted(records, key=self._key)

    def _key(self, record: Record) -> tuple[Any, ...]:
        worse = -self._signs[0] * record.values[0] if record.values else float("inf")
        epoch = record.report["epoch"] if record.report else 0
        return _ORDER.get(record.state, 2), -epoch, worse, record.number

    @property
    def best(self) -> Record | None:
        """The best finished trial by the first objective."""
        first = self.records[0] if self.records else None
        return first if first and first.state == FINISHED and first.values else None

    def front(self) -> set[int]:
        """Return the numbers of the trials that none is better than in every objective."""
        ranked = [one for one in self.records if one.state == FINISHED and one.values]
        return {one.number for one in ranked if not any(self._beats(o, one) for o in ranked)}

    def _beats(self, one: Record, other: Record) -> bool:
        assert one.values is not None
        assert other.values is not None
        pairs = zip(self._signs, one.values, other.values, strict=True)
        gains = [sign * (a - b) for sign, a, b in pairs]
        return min(gains) >= 0 and max(gains) > 0

    def write(self, sweep_dir: Path) -> None:
        """Write ``leaderboard.csv`` and ``leaderboard.json``.

        Raises:
            StorageError: a file cannot be written.
        """
        rows = [self._row(rank, record) for rank, record in enumerate(self.records, start=1)]
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        directory.write(sweep_dir / CSV, text.getvalue())
        front = self.front()
        content = {
            "objectives": self._objectives,
            "best": self.best.number if self.best else None,
            "front": sorted(front) if len(self._objectives) > 1 else None,
            "trials": [asdict(record) for record in self.records],
        }
        directory.write(sweep_dir / JSON, json.dumps(content, indent=2, default=str) + "\n")

    def _row(self, rank: int, record: Record) -> dict[str, Any]:
        row: dict[str, Any] = {"rank": rank, "trial": record.number, "state": record.state}
        row |= {key.lstrip("+"): value for key, value in record.params.items()}
        row |= dict.fromkeys(self._objectives)
        if record.values:
            row |= dict(zip(self._objectives, record.values, strict=False))
        for name, value in record.metrics.items():
            if name not in row and not name.startswith(_LONG):
                row[name] = value
        return row | {"directory": record.directory, "error": record.error}

    def table(self) -> Table:
        """Return the best finished trials for a terminal; of several objectives, the front."""
        front = self.front() if len(self._objectives) > 1 else None
        finished = [one for one in self.records if one.state == FINISHED]
        rows = [one for one in finished if front is None or one.number in front][:_SHOWN]
        title = "best trials" if front is None else "trials that none beats in every objective"
        table = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
        table.add_column("trial", justify="right")
        keys = list(dict.fromkeys(key for record in rows for key in record.params))
        for name in _headings(keys):
            table.add_column(name, justify="right", overflow="fold")
        metrics = list(dict.fromkeys([*self._objectives, "test/acc", "time/fit"]))
        for name in metrics:
            table.add_column(name, justify="right")
        for record in rows:
            values = [short(record.params.get(key, "")) for key in keys]
            found = [_cell(name, record.metrics.get(name)) for name in metrics]
            table.add_row(str(record.number), *values, *found)
        return table

    def print(self, sweep_dir: Path, command: str | None) -> None:
        """Print the table, and how to go on.

        Args:
            sweep_dir: the sweep's directory as one would type it.
            command: what trains the best trial again.
        """
        console = Console(soft_wrap=True, highlight=False, markup=False)
        if not console.is_terminal:
            console.width = _FILE_WIDTH
        console.print()
        console.print(self.table())
        found = counts(self.records)
        states = ", ".join(f"{number} {state}" for state, number in found.items() if number)
        total = len(self.records)
        console.print(f"{total} {'trial' if total == 1 else 'trials'}: {states}")
        if found[FAILED]:
            console.print(f"what failed: {sweep_dir / '<trial>' / 'train.log'}")
        console.print(f"all trials: {sweep_dir / CSV}")
        if command:
            console.print(f"train the best again: {command}")


def _headings(keys: Sequence[str]) -> list[str]:
    """Return the last part of each key, where that is enough to tell them apart."""
    names = [key.lstrip("+") for key in keys]
    last = [name.rpartition(".")[2] for name in names]
    return [end if last.count(end) == 1 else name for name, end in zip(names, last, strict=True)]


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name.endswith("/acc"):
        return f"{value:.2%}"
    if name.startswith("time/"):
        return f"{value:.1f} s"
    return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:.4f}"
