"""Which runs of a listing are shown, and in which order: terms such as ``lr<1e-3``, and sorting."""

import math
import operator
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from mnist_lab.errors import ConfigError
from mnist_lab.report.leaderboard import better_sign, nearest, setting_text
from mnist_lab.report.listing import names_of
from mnist_lab.report.read_runs import BROKEN, DIVERGED, FAST_DEV_RUN, Entry
from mnist_lab.runs.manifest import RunState

FIELDS = (
    *("run", "age", "state", "model", "monitor", "monitored", "seed", "time", "tag", "tags"),
    *("note", "trials", "started", "error"),
)
"""What a row has besides its settings and metrics."""
_TERM = re.compile(r"([^=<>!\s]+)(<=|>=|!=|=|<|>)(.*\S.*)", re.DOTALL)
_SPACED = re.compile(r"""("[^"]*"|'[^']*')|\s*(<=|>=|!=|=|<|>)\s*""")  # not within quotes
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
STATES = (*RunState, FAST_DEV_RUN, DIVERGED, BROKEN)
_STARTED = re.compile(r"\d{4}-\d\d-\d\d(T.*)?")
_EXAMPLE_TIME = "2026-11-02 or 2026-11-02T10:30"
_ACCURACY = re.compile(r"/acc(_class_\d+)?$")


class Term(NamedTuple):
    """A condition.

    Args:
        name: full name of a field, metric or setting.
        sign: one of the operators.
        text: what the value is compared with.
    """

    name: str
    sign: str
    text: str

    @property
    def is_order(self) -> bool:
        """Whether it says which of two values is the greater."""
        return self.sign not in ("=", "!=")


def ranked(runs: Iterable[Entry], name: str, reverse: bool = False) -> list[Entry]:
    """Sort by a value: the best metric first, other values from the smallest; none comes last."""

    def key(entry: Entry) -> tuple[int, Any]:
        value = entry.value(name)
        if not isinstance(value, int | float):
            return 1, ",".join(value) if isinstance(value, tuple) else value
        is_monitored = name in ("monitored", entry.monitor)
        best_first = entry.sign if is_monitored else better_sign(name, entry.settings)
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
    names = names_of(run.metrics for run in runs) | names_of(run.settings for run in runs)
    if name in FIELDS or name in names or not runs:
        return name
    fitting = [full for full in names if full.endswith(f".{name}")]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigError(f"{name}: which one? {', '.join(sorted(fitting)[:5])}")
    hint = nearest(name, [*FIELDS, *names]) or f"{', '.join(FIELDS)}, a metric or a setting"
    raise ConfigError(f"{name}: no run has it; {hint}")


def chosen(runs: Sequence[Entry], where: str) -> list[Entry]:
    """Return the runs for which each term of a text holds, such as ``model=cnn val/acc>0.98``.

    Raises:
        ConfigError: there is no term, one is incomplete, no run has what it names, or its value is
            none that this may have.
    """
    try:
        texts = shlex.split(_SPACED.sub(lambda match: match[1] or match[2], where))
    except ValueError as error:
        raise ConfigError(f"--where {where}: {error}") from error
    if not texts:
        raise ConfigError("--where: must have a term, such as val/acc>0.98")
    terms = [_term(text, runs) for text in texts]
    return [run for run in runs if all(_holds(run, term) for term in terms)]


def _term(text: str, runs: Sequence[Entry]) -> Term:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"--where {text}: must be a name, one of {' '.join(_OPERATORS)}, and a value, such as "
            "val/acc>0.98"
        )
    term = Term(full_name(match[1], runs), match[2], match[3])
    if problem := _problem(term, runs):
        raise ConfigError(f"--where {text}: {problem}")
    return term


def _problem(term: Term, runs: Sequence[Entry]) -> str:
    """Return why a term would hold for all runs or for none, whatever they are."""
    if term.name == "state" and term.text.lower() not in STATES:
        return f"must be {', '.join(STATES[:-1])} or {STATES[-1]}"
    if term.name == "trials":
        return "must name what a run has; trials is of sweeps alone"
    if term.name == "started":
        return "" if _STARTED.fullmatch(term.text) else f"must be a time, such as {_EXAMPLE_TIME}"
    values = [value for run in runs if (value := run.value(term.name)) is not None]
    numbers = list(filter(_is_number, values))
    if values and not numbers and term.is_order:
        return f"{term.name} is text: = or != is required"
    is_null = term.text == "null" and not term.is_order
    is_numeric = term.is_order or (bool(numbers) and len(numbers) == len(values))
    if is_numeric and _number(term.text) is None and not is_null:
        return f"must be a number{_example(term.name, runs)}"
    return _problem_of_accuracy(term, runs, numbers)


def _problem_of_accuracy(term: Term, runs: Sequence[Entry], values: Sequence[float]) -> str:
    number = _number(term.text)
    if number is None or number <= 1 or any(value > 1 for value in values):
        return ""
    if not _is_accuracy(term.name, runs):
        return ""
    is_percent = number <= 100 and term.text[-1].isdigit()
    return "an accuracy is at most 1" + (
        f"; say {term.text}% or {number / 100:g}" if is_percent else ""
    )


def _is_accuracy(name: str, runs: Sequence[Entry]) -> bool:
    names = {run.monitor for run in runs} if name == "monitored" else {name}
    return all(map(_ACCURACY.search, names))


def _example(name: str, runs: Sequence[Entry]) -> str:
    if name in ("age", "time") or name.startswith("time/"):
        return " or a time, such as 30min or 2d"
    return ", such as 0.98 or 98%" if _is_accuracy(name, runs) else ""


def _holds(run: Entry, term: Term) -> bool:
    compare = _OPERATORS[term.sign]
    value, typed = run.value(term.name), term.text
    if term.name == "model":
        value, typed = run.model_names, typed.lower()
    if isinstance(value, tuple):
        return (
            any(compare(text, typed) for text in value) if term.sign != "!=" else typed not in value
        )
    if _is_number(value) and (number := _number(typed)) is not None:
        return bool(compare(value, number))
    if term.is_order and term.name != "started":
        return False
    if value is None:
        return bool(compare("null", typed))
    return bool(compare(setting_text(value).lower(), typed.lower()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(text: str) -> float | None:
    """Return a number, a percentage, or a time in seconds; NaN is none."""
    match = re.fullmatch(r"(.*?)(%|s|min|h|d)?", text, re.DOTALL)
    assert match is not None
    try:
        number = float(match[1] if match[2] else text)
    except ValueError:
        return None
    if match[2]:  # 57 / 100 is 0.57, and 57 * 0.01 is not
        number = number / 100 if match[2] == "%" else number * _SECONDS[match[2]]
    return None if math.isnan(number) else number
