"""Whether a run's config.yaml still says what the run began with, which its manifest records."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from mnist_lab.config.callback_schema import Pictures
from mnist_lab.config.knob import shown
from mnist_lab.config.lengths import LENGTHS
from mnist_lab.config.renames import renamed_values
from mnist_lab.errors import InputError, listed
from mnist_lab.runs.directory import CONFIG, MANIFEST, display_path
from mnist_lab.runs.labels import LABELS
from mnist_lab.runs.manifest import flat, read_manifest

# How a run is computed and shown, which may be chosen anew when it is resumed.
MAY_DIFFER = (
    "allow_targets",
    "run_dir",
    "threads",
    *LABELS,
    "data.root",
    "callbacks.checkpoint.every_n_seconds",
    "callbacks.checkpoint.every_n_steps",
    *(f"callbacks.pictures.{knob.name}" for knob in fields(Pictures)),
    "trainer.accelerator",
    "trainer.default_root_dir",
    "trainer.devices",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.num_nodes",
    "trainer.profiler",
    "trainer.strategy",
)
FROM_DATA = ("model.num_classes", "model.in_shape")  # which a run takes where it is told none
MOST_NAMED = 3  # differences in an error


def check_unedited(run_dir: Path, plain: Mapping[str, Any]) -> None:
    """Check that the content of a run's config.yaml was not edited since the run began.

    Runs of earlier versions have no record of it. What may differ from one start to the next may be
    edited too.

    Raises:
        InputError: it was edited, or the manifest is corrupt.
    """
    manifest = read_manifest(run_dir) if (run_dir / MANIFEST).exists() else {}
    began = renamed_values(manifest.get("config") or {})
    if not began:
        return
    now = flat(plain)
    lengths: list[Mapping[str, Any]] = [
        began,
        *(entry.get("now") or {} for entry in manifest.get("further", [])),
    ]
    edited = [
        f"{key}={shown(now.get(key))}, and {shown(began.get(key))} when the run began"
        for key in sorted(began.keys() | now.keys())
        if key not in MAY_DIFFER
        and not _is_one_of(now.get(key), [began.get(key)])
        and not (key in FROM_DATA and began.get(key) is None)
        and not (key in LENGTHS and _is_one_of(now.get(key), [known.get(key) for known in lengths]))
    ]
    if edited:
        place = display_path(run_dir)
        raise InputError(
            f"{place / CONFIG}: was edited: {listed(edited, MOST_NAMED)}; put that back; "
            "train another run with it, or go further: "
            f"mnist-lab resume {shlex.quote(str(place))} {LENGTHS[0]}=N"
        )


def _is_one_of(value: Any, others: list[Any]) -> bool:
    """Return whether a value of YAML is one of JSON; NaN is NaN."""
    text = json.dumps(value, default=str)
    return text in [json.dumps(other, default=str) for other in others]
