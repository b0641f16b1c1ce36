"""Lineage of a trial of a population: of which trials its weights come, trained by which values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnist_lab.sweeps.space import overrides_of

if TYPE_CHECKING:
    from mnist_lab.sweeps.records import Record

PHASES = "callbacks.phases"
_TARGET = "mnist_lab.training.Phases"


@dataclass(frozen=True)
class Phase:
    """Epochs that a trial's weights were trained by the same values.

    Args:
        epoch: the first of them, from 0.
        trial: number of the trial that trained them.
        params: the keys that the sweep varies, and their values, as overrides.
    """

    epoch: int
    trial: int
    params: dict[str, str]


def settings_of(lineage: Sequence[Phase]) -> dict[str, Any]:
    """Return the settings of a run that trains a lineage from its start, by dotted keys."""
    phases = [{"epoch": phase.epoch, **_numbers(phase.params)} for phase in lineage[1:]]
    return _numbers(lineage[0].params) | {PHASES: {"_target_": _TARGET, "phases": phases}}


def overrides(record: "Record") -> list[str]:
    """Return a trial's overrides, without those that all trials share."""
    if not record.lineage:
        return overrides_of(record.params)
    node = settings_of(record.lineage)[PHASES]
    texts = [",".join(f"{key}:{value}" for key, value in phase.items()) for phase in node["phases"]]
    phases = ",".join(f"{{{text}}}" for text in texts)
    first = overrides_of(record.lineage[0].params)
    return [*first, f"+{PHASES}={{_target_:{_TARGET},phases:[{phases}]}}"]


def _numbers(params: Mapping[str, str]) -> dict[str, float]:
    return {key.lstrip("+"): float(value) for key, value in params.items()}
