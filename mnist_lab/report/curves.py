"""Learning curves, read from a run's event files."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path

from mnist_lab.files.tensorboard import EVENTS, do_without_tensorflow

CURVES = ("val/acc", "val/loss", "train/acc", "train/loss")
_MAX_BYTES = 200_000_000  # of one event file; a run of an hour has 2,000,000
Curve = list[tuple[float, float]]


def curves(run_dir: Path, *more: str) -> dict[str, Curve]:
    """Return epochs and values of each curve of ``CURVES``, and of more, that a run has logged.

    A file that was cut off gives its whole records.
    """
    do_without_tensorflow()
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    names = (*CURVES, *more)
    values: dict[str, dict[int, float]] = {name: {} for name in (*names, "epoch", "train/loss")}
    for path in sorted(run_dir.glob(EVENTS)):
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            continue
        try:
            for event in LegacyEventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    if value.tag in values and value.HasField("simple_value"):
                        values[value.tag][event.step] = value.simple_value
        except Exception:  # a corrupt file raises errors of many kinds
            continue
    epochs, ends = values.pop("epoch"), sorted(values["train/loss"])
    by_name = {
        name: [
            (_epoch(step, number, epochs, ends), value)
            for number, (step, value) in enumerate(sorted(points.items()))
            if math.isfinite(value)
        ]
        for name, points in values.items()
        if name in names
    }
    return {name: curve for name, curve in by_name.items() if curve}


def _epoch(step: int, number: int, epochs: Mapping[int, float], ends: Sequence[int]) -> float:
    """Return the epoch of a point, from 1.

    Args:
        step: of the point.
        number: of the point in its curve, from 0.
        epochs: by steps, as Lightning's own logger writes them.
        ends: the last step of each epoch, of which the model logs its loss.
    """
    if step in epochs:
        return epochs[step] + 1
    return bisect_left(ends, step) + 1.0 if ends else number + 1.0
