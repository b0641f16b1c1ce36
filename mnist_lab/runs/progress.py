"""The content of ``progress.json``, written and read: how far a run or a stack of trials is."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnist_lab.errors import InputError
from mnist_lab.runs.directory import PROGRESS, read_json


@dataclass
class Beat:
    """How far a run or a stack that trains is.

    Args:
        epoch: from 1.
        max_epochs: None or less than 1 without a limit.
        share: of the epoch that is done.
        steps_per_second: since the start.
        seconds_left: None where that is not known.
        metrics: of the last epoch; of a stack, the best so far of all its trials.
        trials: number of those in a stack; None of a run.
    """

    epoch: int = 0
    max_epochs: int | None = None
    share: float = 0.0
    steps_per_second: float = 0.0
    seconds_left: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    trials: int | None = None


def epoch_text(epoch: int, max_epochs: int | None) -> str:
    """Return an epoch's number, and of how many where there is a limit."""
    return f"{epoch}/{max_epochs}" if (max_epochs or 0) > 0 else str(epoch)


def read_beat(folder: Path) -> Beat | None:
    """Return what the directory of a run or a sweep, which may be anyone's, says; else None."""
    try:
        content = read_json(folder / PROGRESS)
        metrics = content["metrics"].items()
        limit, left = content["max_epochs"], content["seconds_left"]
        trials = content.get("trials")
        return Beat(
            int(content["epoch"]),
            None if limit is None else int(limit),
            _finite(content["share"]),
            _finite(content["steps_per_second"]),
            None if left is None else _finite(left),
            {str(name): float(value) for name, value in metrics if type(value) in (int, float)},
            None if trials is None else int(trials),
        )
    except (InputError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number
