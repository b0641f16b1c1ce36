"""What the lab notes on the trials of a study, and what a trial says to other directories."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mnist_lab.errors import InputError
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.records import Record

_STATES = {
    TrialState.COMPLETE: RunState.FINISHED,
    TrialState.PRUNED: RunState.PRUNED,
    TrialState.FAIL: RunState.FAILED,
}
_ELSEWHERE = "failed in another directory, whose ledger says why"


@dataclass(frozen=True)
class Notes:
    """User attributes that the lab sets on a trial of the study.

    Args:
        home: the sweep directory that runs it, as ``sweep.json`` names it.
        number: its number in the sweep.
        round: number in the study of the first trial that was asked for together with it.
        is_surplus: whether another trial has its number, so that it does not count.
        is_unmeasured: whether it finished without values of the objectives; to Optuna it failed.
    """

    home: str
    number: int
    round: int | None = None
    is_surplus: bool = False
    is_unmeasured: bool = False

    @classmethod
    def of(cls, trial: FrozenTrial) -> "Notes":
        """Read a trial's attributes; others, which a dashboard may have set, are left out.

        Raises:
            InputError: one is missing or wrong.
        """
        attrs = trial.user_attrs
        notes = cls(attrs.get("home", ""), attrs.get("number", -1))
        notes = replace(notes, **{name: attrs[name] for name in vars(notes) if name in attrs})
        is_right = isinstance(notes.home, str) and type(notes.number) is int and notes.number >= 0
        if is_right and type(notes.round) in (int, type(None)):
            return notes
        raise InputError(f"trial {trial.number} of the study is none that mnist_lab created")

    def attrs(self) -> dict[str, Any]:
        """Return the attributes that differ from their defaults."""
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in vars(self).items() if value is not defaults[name]}


def record_of(trial: FrozenTrial, notes: Notes, objectives: Sequence[str]) -> Record:
    """Return what a study knows of a trial that another directory runs."""
    values = trial.values or []
    is_known = len(values) == len(objectives) and all(map(math.isfinite, values))
    state = _STATES.get(trial.state, RunState.RUNNING)
    if state == RunState.FAILED and notes.is_unmeasured:
        state = RunState.FINISHED
    return Record(
        number=notes.number,
        params={key: str(value) for key, value in trial.params.items()},
        trial=trial.number,
        state=state,
        values=values if is_known else None,
        metrics=dict(zip(objectives, values, strict=True)) if is_known else {},
        error=_ELSEWHERE if state == RunState.FAILED else None,
        owner=notes.home,
    )
