"""The stored form of a snapshot, which every later version has to read."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_lab.errors import InputError
from mnist_lab.training.checkpoints.resume_state import KEY, random_state, read_snapshot

RANK = {"random": random_state(torch.device("cpu")), "running": None}
META = {"fx": "training_step", "name": "loss", "reduce_fx": "mean", "metric_attribute": None}


def stored() -> dict[str, Any]:
    """Return a snapshot as the first version stored it."""
    return {
        "epoch": 1,
        "batch": 2,
        "step": 12,
        "total_batches": 12,
        "logged_steps": 12,
        "is_finished": False,
        "ranks": [RANK],
        "metrics": {"val/acc": torch.tensor(0.5)},
        "logs": [{"events.out.tfevents.0": 100}],
        "is_best": True,
        "goes_further": False,
    }


def test_of_an_earlier_version() -> None:
    content = stored()
    del content["goes_further"]
    assert not read_snapshot(Path("a.ckpt"), {KEY: content}).goes_further


def test_the_stored_form_stays() -> None:
    content = stored()
    snapshot = read_snapshot(Path("a.ckpt"), {KEY: content})
    assert (snapshot.step, snapshot.batch, snapshot.is_best) == (12, 2, True)
    assert snapshot.to_dict() == content
    assert [*snapshot.to_dict()] == [*content]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", -1),
        ("batch", 1.5),
        ("is_best", 1),
        ("ranks", []),
        ("ranks", [{"random": {}, "running": None}]),
        ("ranks", [{**RANK, "data_random": {}}]),
        ("ranks", [{**RANK, "logged": [{"meta": META}]}]),
        ("ranks", [{**RANK, "logged": [{"meta": {**META, "name": 1}, "sums": {}}]}]),
        ("ranks", [{**RANK, "logged": [{"meta": {**META, "other": True}, "sums": {}}]}]),
        ("ranks", [{**RANK, "logged": [{"meta": META, "sums": {"value": torch.ones(2)}}]}]),
        ("ranks", [{**RANK, "logged": [{"meta": META, "sums": {"meta": torch.ones(())}}]}]),
        ("ranks", [{**RANK, "metrics": {"acc": {"count": -1, "states": {}}}}]),
        ("ranks", [{**RANK, "metrics": {"acc": {"count": 1, "states": {"value": "1"}}}}]),
        ("metrics", {"val/acc": torch.ones(2)}),
        ("logs", [{"../other": 1}]),
        ("step", None),
    ],
)
def test_an_entry_of_a_wrong_type_is_named(name: str, value: Any) -> None:
    content = stored() | {name: value}
    message = rf"a\.ckpt: a run cannot be resumed from it: mnist_lab\.{name} is missing or wrong"
    with pytest.raises(InputError, match=message):
        read_snapshot(Path("a.ckpt"), {KEY: content})
    del content[name]
    with pytest.raises(InputError, match=message):
        read_snapshot(Path("a.ckpt"), {KEY: content})


def test_a_checkpoint_of_another_program_has_none() -> None:
    with pytest.raises(InputError, match="a run cannot be resumed from it"):
        read_snapshot(Path("a.ckpt"), {"state_dict": {}})
