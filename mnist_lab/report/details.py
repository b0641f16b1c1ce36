"""All about one run, and what differs between two."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mnist_lab.config.compose import compose
from mnist_lab.errors import LabError
from mnist_lab.report.leaderboard import setting_text
from mnist_lab.report.read_runs import Entry, model_choices
from mnist_lab.report.settings import differing, settings_of
from mnist_lab.runs.directory import MANIFEST
from mnist_lab.runs.manifest import flat, read_manifest
from mnist_lab.runs.summary import metric_text

_MACHINE = ("device", "world_size", "precision", "threads", "platform")
_MAX_TEXT = 1_000  # characters of one value
_Row = tuple[str, str, str, str, str]


def changed_settings(entry: Entry) -> dict[str, Any]:
    """Return a run's settings that are not those of ``mnist-lab train`` with its kind of model.

    ``model`` is the name of that choice.
    """
    target = entry.settings.get("model._target_")
    choice = model_choices().get(str(target))
    try:
        plain: Any = OmegaConf.to_container(compose(f"model={choice}" if choice else []))
    except LabError:  # a model that is nothing without its arguments
        plain = OmegaConf.to_container(compose())
    before = settings_of(plain)
    del before["seed"]
    changed = {} if choice in (None, "mlp") else {"model": choice}
    for key in differing([before, entry.settings]):
        if key in entry.settings:
            changed[key] = entry.settings[key]
    return changed | ({"seed": entry.seed} if entry.seed else {})


def environment_of(run_dir: Path) -> dict[str, dict[str, str]]:
    """Return versions, code, machine and data as a run's manifest has them, which may be anyone's.

    Raises:
        InputError: the manifest is corrupt.
    """
    manifest = read_manifest(run_dir) if (run_dir / MANIFEST).exists() else {}
    git = manifest.get("git")
    parts = {
        "versions": manifest.get("versions") or {},
        "code": git if isinstance(git, Mapping) else {},
        "machine": {name: manifest[name] for name in _MACHINE if name in manifest},
        "data": manifest.get("data") or {},
    }
    return {
        part: {str(name): _text(value) for name, value in flat(values).items()}
        for part, values in parts.items()
    }


def differences_of(first: Entry, second: Entry) -> Iterator[_Row]:
    """Yield rows about what two runs do not share: part, name, a text for each run, and change.

    Parts are state, config, versions, code, machine, data and metrics; only a metric has a change,
    the second less the first.

    Raises:
        InputError: a manifest is corrupt.
    """
    if first.state != second.state:
        yield "state", "", first.state, second.state, ""
    settings = [{"seed": entry.seed} | entry.settings for entry in (first, second)]
    for key in differing(settings):
        left, right = (_text(values.get(key)) for values in settings)
        if key.endswith("_target_"):  # the class is enough, where that is not the same
            ends = left.rpartition(".")[2], right.rpartition(".")[2]
            left, right = (left, right) if ends[0] == ends[1] else ends
        yield "config", key, left, right, ""
    parts = [environment_of(entry.path) for entry in (first, second)]
    for part in parts[0]:
        for name in differing([parts[0][part], parts[1][part]]):
            left, right = (values[part].get(name, "") for values in parts)
            yield part, name, left, right, ""
    yield from _metric_differences(first.metrics, second.metrics)


def _metric_differences(first: Mapping[str, float], second: Mapping[str, float]) -> Iterator[_Row]:
    for name in dict.fromkeys([*first, *second]):
        left, right = first.get(name), second.get(name)
        texts = metric_text(name, left), metric_text(name, right)
        if "class_" in name or texts[0] == texts[1]:
            continue
        change = ""
        if left is not None and right is not None and math.isfinite(right - left):
            sign = "+" if right > left else "-"
            change = sign + metric_text(name, abs(right - left))
        yield "metrics", name, *texts, change


def _text(value: Any) -> str:
    return setting_text(value)[:_MAX_TEXT]
