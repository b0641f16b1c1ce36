"""Experiment file of a sweep's best trial, which trains it again."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.core.override_parser.types import Override, Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.compose import Loader
from mnist_lab.config.overrides import parse_overrides
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

    The file has the choices that are not the defaults, and each value that the command line, an
    experiment or the search has set.

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
    if loader.allowed:
        yield f"allow_targets=[{','.join(loader.allowed)}]"


def _recipe(loader: Loader, config: DictConfig) -> DictConfig:
    plain: Any = OmegaConf.to_container(config, resolve=False)
    hydra = plain.pop("hydra")
    overrides = parse_overrides(hydra["overrides"]["task"])
    choices = {
        group: choice
        for group, choice in hydra["runtime"]["choices"].items()
        if not group.startswith("hydra/")
    }
    names = _names_set(loader, choices, overrides)
    primary: Any = loader.repository.load_config("train")
    defaults = {
        str(element.group): element.value
        for element in primary.defaults_list
        if isinstance(element, GroupDefault) and not element.override
    }
    cut = [text.key_or_group.partition(".")[0] for text in overrides if text.is_delete()]
    for group in defaults:
        if group in cut or group not in choices:  # a list was chosen
            choices[group] = []  # no file, as the values are written out
            names.add(group)
    recipe = OmegaConf.create()
    if elements := _defaults_list(choices, defaults):
        recipe.defaults = elements
    for key, value in flat(plain).items():
        is_set = any(f"{key}.".startswith(f"{name}.") for name in names)
        if is_set and key not in ("allow_targets", *LABELS):
            OmegaConf.update(recipe, key, value)
    return recipe


def _defaults_list(choices: dict[str, Any], defaults: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices that are not the defaults; Hydra wants those that override last."""
    chosen = {group: choice for group, choice in choices.items() if group not in _RECIPES}
    added = [{f"/{group}": chosen[group]} for group in chosen if group not in defaults]
    replaced = [
        {f"override /{group}": chosen[group]}
        for group in defaults
        if group in chosen and chosen[group] != defaults[group]
    ]
    return added + replaced


def _names_set(loader: Loader, choices: dict[str, Any], overrides: Sequence[Override]) -> set[str]:
    """Return the dotted keys that recipes, files that were chosen as a list and overrides set."""
    names: set[str] = set()
    for override in overrides:
        group, value = override.key_or_group, override.value()
        if not loader.repository.group_exists(group):
            names.add(group)
        elif isinstance(value, list):  # which is not among the choices
            for choice in value:
                text = choice.text if isinstance(choice, QuotedString) else choice
                names.update(_names_in(loader, group, str(text)))
    for group in _RECIPES:
        if choices.get(group):
            names.update(_names_in(loader, group, choices[group]))
    return names


def _names_in(loader: Loader, group: str, name: str) -> Iterator[str]:
    """Yield the dotted keys that a file of a group sets, and those of the files it includes."""
    source: Any = loader.repository.load_config(f"{group}/{name}")
    if source is None:  # as where the name is an interpolation
        return
    yield from flat(OmegaConf.to_container(source.config, resolve=False))
    for element in source.defaults_list:
        if isinstance(element, ConfigDefault) and element.path != "_self_":
            folder, _, file = _absolute(group, str(element.path)).rpartition("/")
            yield from _names_in(loader, folder, file)
        elif isinstance(element, GroupDefault) and element.is_options():
            for option in element.get_options():
                yield from _names_in(loader, _absolute(group, str(element.group)), option)


def _absolute(group: str, path: str) -> str:
    """Return a path of a defaults list, which is relative to the file's group without a ``/``."""
    return path[1:] if path.startswith("/") else f"{group}/{path}"
