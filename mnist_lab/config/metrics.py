"""Metrics that a run can be judged by, and whether more or less of each is better."""

import pkgutil
import re
from collections.abc import Mapping
from typing import Any

METRICS = {"val/acc": "max", "val/loss": "min", "train/acc": "max", "train/loss": "min"}
"""Those that every run of the lab's models has, with their modes."""
_LOSS = re.compile(r"loss(?![a-z])", re.IGNORECASE)
TAKEN = re.compile(r"acc|loss|num_samples|acc_class_\d+")
"""Names after the split's that the lab's own metrics have."""


def measured(metrics: Mapping[str, Any] | None) -> dict[str, str | None]:
    """Return what a run can be judged by, each with the mode that it must have, None for any."""
    return {**METRICS, **{f"val/{name}": None for name in metrics or {}}}


def without_class(name: str) -> str:
    """Return the metric whose value for one class a name stands for, else the name."""
    return re.sub(r"_class_\d+$", "", name)


def best_mode(monitor: Any, *, _root_: Any) -> str:
    """Return the mode of a monitor that none was typed for.

    It is as the class of one of ``metrics`` says; of another name ``min`` for a loss, else ``max``.

    Args:
        monitor: the metric's name.
        _root_: the whole config, whose targets are not checked yet: a class of another package
            than torchmetrics is not imported, and its mode taken to be ``max``.
    """
    name = without_class(str(monitor))
    node: Any = (_root_.get("metrics") or {}).get(name.removeprefix("val/"))
    if not isinstance(node, Mapping):
        return METRICS.get(name, "min" if _LOSS.search(name) else "max")
    return mode_of(str(node.get("_target_")))


def mode_of(target: str) -> str:
    """Return the mode of a metric's class: as torchmetrics says, ``max`` of any other package."""
    if not target.startswith("torchmetrics."):
        return "max"
    try:
        is_better = pkgutil.resolve_name(target).higher_is_better
        if is_better is None:  # torchmetrics.F1Score stands for a class for each task
            name = f"torchmetrics.classification.Multiclass{target.rpartition('.')[2]}"
            is_better = pkgutil.resolve_name(name).higher_is_better
        return "min" if is_better is False else "max"
    except (ImportError, AttributeError, ValueError):
        return "max"  # what is wrong with the target is said where it is checked
