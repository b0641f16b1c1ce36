"""What is noted on a study's trials, and what other directories make of a trial."""

from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_lab.errors import InputError
from mnist_lab.runs.manifest import RunState
from mnist_lab.sweeps.notes import Notes, record_of


def trial(state: TrialState, value: float | None = None, **attrs: Any) -> FrozenTrial:
    return create_trial(state=state, value=value, user_attrs={"home": "a", "number": 3, **attrs})


def test_attributes_that_differ_from_their_defaults_are_read_again() -> None:
    notes = Notes("a", 3, round=2, is_surplus=True)
    assert notes.attrs() == {"home": "a", "number": 3, "round": 2, "is_surplus": True}
    assert (
        Notes.of(trial(TrialState.FAIL, round=2, is_surplus=True, other=5, is_retry=True)) == notes
    )


@pytest.mark.parametrize("attrs", [{"number": -1}, {"home": 5}, {"number": True}, {"round": "x"}])
def test_others_are_no_trials_of_the_lab(attrs: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="none that mnist_lab created"):
        Notes.of(trial(TrialState.FAIL, **attrs))


@pytest.mark.parametrize(
    ("found", "state", "values"),
    [
        (trial(TrialState.COMPLETE, 0.5), RunState.FINISHED, [0.5]),
        (trial(TrialState.FAIL), RunState.FAILED, None),
        (trial(TrialState.FAIL, is_unmeasured=True), RunState.FINISHED, None),
        (trial(TrialState.COMPLETE, float("inf")), RunState.FINISHED, None),
    ],
)
def test_what_another_directory_makes_of_a_trial(
    found: FrozenTrial, state: RunState, values: list[float] | None
) -> None:
    record = record_of(found, Notes.of(found), ["val/acc"])
    assert (record.number, record.state, record.values) == (3, state, values)
    assert record.metrics == ({"val/acc": values[0]} if values else {})
    assert bool(record.error) == (state == RunState.FAILED)
