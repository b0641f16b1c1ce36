"""Which runs of a listing are shown, and in which order: terms such as ``lr<1e-3``, and sorting."""

import difflib
import math
import operator
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mnist_lab.errors import ConfigError
from mnist_lab.report.leaderboard import better_sign, setting_text
from mnist_lab.report.listing import Entry, names_of

FIELDS = (
    *("run", "age", "state", "model", "monitor", "monitored", "seed", "time", "tag", "tags"),
    *("note", "trials", "started", "error"),
)
"""What a row has besides its settings and metrics."""
_TERM = re.compile(r"([^=<>!\s]+)(<=|>=|!=|=|<|>)(.*)", re.DOTALL)
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_UNITS = {"%": 0.01, "s": 1, "min": 60, "h": 3600, "d": 86400}


def ranked(runs: Iterable[Entry], name: str, reverse: bool = False) -> list[Entry]:
    """Sort by a value: the best metric first, any other value from the smallest; none comes last.

    Args:
        runs: what is sorted.
        name: full name of the value.
        reverse: whether the order is turned round.
    """

    def key(entry: Entry) -> tuple[int, Any]:
        value = entry.value(name)
        if not isinstance(value, int | float):
            return 1, ",".join(value) if isinstance(value, tuple) else value
        best_first = entry.sign if name in ("monitored", entry.monitor) else better_sign(name)
        return 0, -value if best_first > 0 else value

    known: list[Entry] = []
    missing: list[Entry] = []
    for run in runs:
        value = run.value(name)
        is_nan = isinstance(value, float) and math.isnan(value)
        (missing if value is None or is_nan else known).append(run)
    return sorted(known, key=key, reverse=reverse) + missing


def first_of_each(runs: Iterable[Entry], name: str) -> list[Entry]:
    """Return the first run for each value."""
    rows: dict[Any, Entry] = {}
    for run in runs:
        rows.setdefault(run.value(name), run)
    return list(rows.values())


def full_name(name: str, runs: Sequence[Entry]) -> str:
    """Return the full name of a field, metric or setting, of which the last part is enough.

    Raises:
        ConfigError: no run has it, or several have other names that end so.
    """
    names = _names(runs)
    if name in FIELDS or name in names or not runs:
        return name
    fitting = [full for full in names if full.endswith(f".{name}")]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigError(f"{name}: which one? {', '.join(sorted(fitting)[:5])}")
    near = difflib.get_close_matches(name, [*FIELDS, *names, *(n.split(".")[-1] for n in names)], 1)
    hint = f"; did you mean {near[0]}?" if near else f"; {', '.join(FIELDS)}, a metric or a setting"
    raise ConfigError(f"{name}: no run has it{hint}")


def _names(runs: Sequence[Entry]) -> dict[str, None]:
    return names_of(run.metrics for run in runs) | names_of(run.settings for run in runs)


def chosen(runs: Sequence[Entry], where: str) -> list[Entry]:
    """Return the runs for which each term of a text holds, such as ``model=cnn val/acc>0.98``.

    Raises:
        ConfigError: a term has no operator, or no run has what it names.
    """
    try:
        terms = shlex.split(re.sub(r"\s*(<=|>=|!=|=|<|>)\s*", r"\1", where))
    except ValueError as error:
        raise ConfigError(f"--where {where}: {error}") from error
    for term in terms:
        match = _TERM.fullmatch(term)
        if match is None:
            raise ConfigError(
                f"--where {term}: must be a name, one of {' '.join(_OPERATORS)}, and a value, such "
                "as val/acc>0.98"
            )
        name = full_name(match[1], runs)
        runs = [run for run in runs if _holds(run.value(name), match[2], match[3])]
    return list(runs)


def _holds(value: Any, sign: str, typed: str) -> bool:
    compare = _OPERATORS[sign]
    if isinstance(value, tuple):
        return any(compare(tag, typed) for tag in value) if sign != "!=" else typed not in value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and (number := _number(typed)) is not None:
        return bool(compare(value, number))
    if value is None:
        return bool(compare("null", typed)) if sign in ("=", "!=") else False
    return bool(compare(setting_text(value).lower(), typed.lower()))


def _number(text: str) -> float | None:
    """Return a number, a percentage, or a time in seconds."""
    match = re.fullmatch(r"(.*?)(%|s|min|h|d)?", text, re.DOTALL)
    assert match is not None
    try:
        return float(match[1]) * _UNITS[match[2]] if match[2] else float(text)
    except ValueError:
        return None
