"""Experiment file of a sweep's best trial, which trains it again."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.compose import Loader
from mnist_lab.config.options import choices, groups
from mnist_lab.files.atomic import write_errors
from mnist_lab.runs import directory
from mnist_lab.runs.directory import display_path
from mnist_lab.runs.manifest import flat
from mnist_lab.sweeps.records import Record

NAME = "best"
_RECIPES = ("experiment", "sweep")  # groups whose effect is written out


def write_best(
    sweep_dir: Path, record: Record, loader: Loader, overrides: Sequence[str], value: str
) -> str:
    """Write ``experiment/best.yaml`` in a sweep's directory, and return the command that uses it.

    The file has each choice and value that differs from the lab's defaults, whether it came from
    the command line, an experiment or the search.

    Args:
        sweep_dir: the sweep's directory.
        record: the best trial.
        loader: composes configs.
        overrides: all of the trial's.
        value: the trial's result, for people.

    Raises:
        StorageError: the file cannot be written.
    """
    chosen, changes = _difference(loader, overrides)
    place = display_path(sweep_dir)
    command = f"mnist-lab train --config-dir {shlex.quote(str(place))} experiment={NAME}"
    if loader.allowed:
        command += f" {shlex.quote('allow_targets=[' + ','.join(loader.allowed) + ']')}"
    lines = [
        "# @package _global_",
        f"# The best trial of a sweep: {value}.",
        "#",
        f"# Source: trial {record.number} of {place}.",
        f"# Command: {command}",
        f"# Expected: {value}, the same bits on the same machine.",
        f"# Time: {record.metrics.get('time/fit') or 0:.0f} s of training there.",
    ]
    if chosen:
        overridden = [f"  - override /{group}: {choice}" for group, choice in chosen.items()]
        lines += ["defaults:", *overridden, ""]
    text = "\n".join(lines) + "\n" + (OmegaConf.to_yaml(changes) if changes else "")
    folder = sweep_dir / "experiment"
    with write_errors(folder):
        folder.mkdir(exist_ok=True)
    directory.write(folder / f"{NAME}.yaml", text)
    return command


def _difference(loader: Loader, overrides: Sequence[str]) -> tuple[dict[str, str], DictConfig]:
    """Return the choices that differ from the defaults, and the values that differ besides."""
    target, picked = _composed(loader, overrides)
    _, default = _composed(loader, [])
    chosen = {
        group: choice
        for group, choice in picked.items()
        if group not in _RECIPES and choice != default[group] and choice in choices(group)
    }
    base, _ = _composed(loader, [f"{group}={choice}" for group, choice in chosen.items()])
    before, changes = flat(base), OmegaConf.create()
    for key, new in flat(target).items():
        if key not in before or before[key] != new:
            OmegaConf.update(changes, key, new)
    return chosen, changes


def _composed(loader: Loader, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a config with its interpolations, and the choice of each group."""
    opened = [f"allow_targets=[{','.join(loader.allowed)}]"] if loader.allowed else []
    config: DictConfig = loader.compose([*opened, *overrides], RunMode.RUN)
    picked = {group: str(config.hydra.runtime.choices.get(group)) for group in groups()}
    plain: Any = OmegaConf.to_container(config, resolve=False)
    del plain["hydra"]
    return plain, picked
