"""Result of a cross-validation on the terminal: the mean over the folds, and its interval."""

from collections.abc import Iterator

from mnist_lab.cli.folded_table import folded_table
from mnist_lab.config.cross_validation import FOLD
from mnist_lab.errors import printable
from mnist_lab.report.leaderboard import Spread
from mnist_lab.runs.summary import headings, metric_text
from mnist_lab.sweeps.records import Record, short
from mnist_lab.sweeps.results import Leaderboard


def has_folds(board: Leaderboard) -> bool:
    """Return whether the trials of a sweep are the folds of cross-validations."""
    return any(FOLD in record.params for record in board.records)


def settings_of(board: Leaderboard) -> dict[tuple[tuple[str, str], ...], list[Record]]:
    """Return the finished trials of each setting, which differ in the fold alone."""
    groups: dict[tuple[tuple[str, str], ...], list[Record]] = {}
    for record in (record for group in board.groups for record in group.records):
        key = tuple((name, text) for name, text in record.params.items() if name != FOLD)
        groups.setdefault(key, []).append(record)
    return groups


def mean_of_folds(board: Leaderboard, width: int) -> Iterator[str]:
    """Yield the lines of a table of each setting's mean over its folds, the best first.

    The 95 % interval is Student's t over the folds, whose training images overlap: it is narrower
    than one over independent data (Bengio and Grandvalet, 2004, JMLR 5).
    """
    objective, mode = next(iter(board.objectives.items()))
    metrics = list(board.objectives)
    rows = []
    for setting, records in settings_of(board).items():
        spreads: dict[str, Spread | None] = {}
        for name in metrics:
            values = [record.metrics[name] for record in records if name in record.metrics]
            numbers = [value for value in values if value is not None]
            spreads[name] = Spread.of(numbers) if numbers else None
        rows.append((dict(setting), len(records), spreads))
    sign = -1 if mode == "max" else 1
    rows.sort(key=lambda row: sign * spread.mean if (spread := row[2][objective]) else float("inf"))
    keys = list(dict.fromkeys(key for setting, _, _ in rows for key in setting))
    columns = [*headings([key.lstrip("+") for key in keys]), "folds"]
    for name in metrics:
        columns += [name, "95 % interval"]
    table = []
    for values_of, count, its_spreads in rows:
        cells = [*(short(values_of.get(key, "")) for key in keys), str(count)]
        for name in metrics:
            cells += _cells(name, its_spreads[name])
        table.append(list(map(printable, cells)))
    yield "mean of folds"
    yield from folded_table(list(map(printable, columns)), table, width, columns)


def _cells(name: str, spread: Spread | None) -> list[str]:
    """Return a mean and its interval."""
    if spread is None:
        return ["-", "-"]
    if spread.half is None:
        return [metric_text(name, spread.mean), "-"]
    low, high = (metric_text(name, spread.mean + sign * spread.half) for sign in (-1, 1))
    return [metric_text(name, spread.mean), f"{low.removesuffix('%').rstrip()} to {high}"]
