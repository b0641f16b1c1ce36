"""Experiment file of a sweep's best trial, which trains it again."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.default_element import GroupDefault
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.compose import Loader
from mnist_lab.config.overrides import parse_overrides
from mnist_lab.errors import LabError
from mnist_lab.runs import directory
from mnist_lab.runs.directory import display_path
from mnist_lab.runs.labels import LABELS
from mnist_lab.runs.manifest import flat
from mnist_lab.sweeps.records import Record

NAME = "best"
_RECIPES = ("experiment", "sweep")  # groups whose values are written out


def write_best(
    sweep_dir: Path, record: Record, loader: Loader, config: DictConfig, value: str
) -> str:
    """Write ``experiment/best.yaml`` in a sweep's directory, and return the command that uses it.

    The file has the choices that are not the defaults, each value that they do not give, and each
    that was typed or searched.

    Raises:
        StorageError: the file cannot be written.
    """
    place = display_path(sweep_dir)
    command = " ".join(map(shlex.quote, ("mnist-lab", "train", *_arguments(place, loader, config))))
    header = [
        "# @package _global_",
        f"# The best trial of a sweep: {value}.",
        "#",
        f"# Source: trial {record.number} of {place}.",
        f"# Command: {command}",
        f"# Expected: {value}, the same bits on the same machine.",
        f"# Time: {record.metrics.get('time/fit') or 0:.0f} s of training there.",
    ]
    content = OmegaConf.to_yaml(_recipe(loader, config))
    content = content.replace("${hydra:job.num}", str(record.number))  # a single run has none
    path = sweep_dir / "experiment" / f"{NAME}.yaml"
    directory.write(path, "\n".join(header) + "\n" + content, sweep_dir)
    return command


def _arguments(place: Path, loader: Loader, config: DictConfig) -> Iterator[str]:
    """Yield the arguments that find the recipe, and the folders that the sweep's choices are in."""
    sources = config.hydra.runtime.config_sources
    own = [source.path for source in sources if source.provider == "command-line"]
    for folder in own or [str(place)]:
        yield from ("--config-dir", folder)
    yield f"experiment={NAME}"
    if own:
        yield f"hydra.searchpath=[{QuotedString(str(place), Quote.single).with_quotes()}]"
    yield from _allowed(loader)


def _recipe(loader: Loader, config: DictConfig) -> DictConfig:
    plain: Any = OmegaConf.to_container(config, resolve=False)
    hydra = plain.pop("hydra")
    primary: Any = loader.repository.load_config("train")
    defaults = {
        str(element.group): element.value
        for element in primary.defaults_list
        if isinstance(element, GroupDefault) and not element.override
    }
    overrides = parse_overrides(hydra["overrides"]["task"])
    typed = [text.key_or_group for text in overrides]
    keys = tuple(f"{key}." for key in typed if not loader.repository.group_exists(key))
    cut = [text.key_or_group.partition(".")[0] for text in overrides if text.is_delete()]
    choices = {
        group: choice
        for group, choice in hydra["runtime"]["choices"].items()
        if not group.startswith("hydra/") and group not in _RECIPES
    }
    for group in defaults:
        if group not in _RECIPES and (group in cut or group not in choices):  # a list was chosen
            choices[group] = []  # no file, as the values are written out
    added = {group: choices[group] for group in choices if group not in defaults}
    replaced = {
        group: choices[group]
        for group in defaults
        if group in choices and choices[group] != defaults[group]
    }
    recipe = OmegaConf.create()
    if added or replaced:
        recipe.defaults = [
            *({f"/{group}": choice} for group, choice in added.items()),
            *({f"override /{group}": choice} for group, choice in replaced.items()),  # Hydra: last
        ]
    base = _values_of_choices(loader, added, replaced)
    for key, value in flat(plain).items():
        is_new = key not in base or repr(base[key]) != repr(value)  # 1 batch is not 1.0 of them
        if (is_new or f"{key}.".startswith(keys)) and key not in ("allow_targets", *LABELS):
            OmegaConf.update(recipe, key, value)
    return recipe


def _values_of_choices(
    loader: Loader, added: Mapping[str, Any], replaced: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values that a recipe's choices give by themselves, by dotted keys.

    There are none where a choice needs what the recipe sets.
    """
    texts = [f"+{group}={choice}" for group, choice in added.items()]
    texts += [f"{group}={choice}" for group, choice in replaced.items()]
    try:
        config = loader.compose([*texts, *_allowed(loader)])
    except LabError:
        return {}
    plain: Any = OmegaConf.to_container(config, resolve=False)
    del plain["hydra"]
    return flat(plain)


def _allowed(loader: Loader) -> list[str]:
    """Return the argument that opens what the sweep's command opened, if it did."""
    return [f"allow_targets=[{','.join(loader.allowed)}]"] if loader.allowed else []
