"""sweep.json: identifies a sweep, so that another cannot be resumed in its place."""

import functools
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.edit_check import MAY_DIFFER, MOST_NAMED
from mnist_lab.config.knob import shown
from mnist_lab.config.renames import ADDED, renamed_values
from mnist_lab.errors import ConfigError, InputError, listed
from mnist_lab.runs import directory
from mnist_lab.runs.manifest import differences, environment, flat

_PARTS = ("space", "search", "config")
_KINDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys((*_PARTS, "code", "versions", "study"), (dict, "a mapping")),
    "overrides": (list, "a list"),
    "config_dir": (str | None, "text or null"),
    "home": (str, "text"),
}
# What a config of an earlier version has where today's, which says the same, has another value.
_FORMER: dict[str, tuple[Any, Any]] = {
    "model.num_classes": (10, None),
    **{key: (None, value) for key, value in ADDED.items()},
}
_environment = functools.cache(environment)  # it asks git


@dataclass(frozen=True)
class Plan:
    """The content of a sweep's ``sweep.json``; space, search and config identify the sweep.

    Args:
        space: the keys that are varied, each with its override.
        search: sampler, pruner, their options and the objectives.
        config: values that are the same for all trials, by dotted keys.
        code: commit of the lab's code, and hash of the changes since; empty outside a checkout.
        versions: of the packages that results depend on.
        overrides: the command that started the sweep; another command may resume it.
        config_dir: the user's own conf folder.
        study: the study's storage, and its name there.
        home: a name for the sweep's directory that stays when it is moved.
    """

    space: dict[str, str]
    search: dict[str, Any]
    config: dict[str, Any]
    code: dict[str, str | None] = field(default_factory=lambda: _environment()["git"] or {})
    versions: dict[str, str] = field(
        default_factory=lambda: _environment()["versions"] | {"optuna": version("optuna")}
    )
    overrides: list[str] = field(default_factory=list)
    config_dir: str | None = None
    study: dict[str, str | None] = field(default_factory=dict)
    home: str = field(default_factory=lambda: secrets.token_hex(8))

    def content(self) -> dict[str, Any]:
        """Return all parts as JSON values."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return content

    def identity(self) -> dict[str, Any]:
        """Return the identifying parts as JSON values."""
        return identity_of(self.content())


def identity_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identifying parts."""
    return {part: content[part] for part in _PARTS}


def read_plan(folder: Path) -> dict[str, Any] | None:
    """Read a directory's ``sweep.json``; None where there is none.

    Raises:
        InputError: the file is corrupt.
    """
    path = folder / directory.SWEEP
    if not path.exists():
        return None
    content = directory.read_json(path)
    for name, (kind, words) in _KINDS.items():
        if name not in content or not isinstance(content[name], kind):
            raise InputError(f"{path}: {name}: must be {words}; put back the file that was there")
    return content


def write_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Write a directory's ``sweep.json``."""
    directory.write(folder / directory.SWEEP, json.dumps(plan, indent=2, default=str) + "\n")


def check_same(
    place: object,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    accept_changes: bool,
    named_by: str = "hydra.sweep.dir",
) -> None:
    """Check that the sweep to be resumed is the one that was begun.

    Args:
        place: the sweep's directory or study.
        before: its identity.
        now: the identity that is required.
        accept_changes: whether the config may differ; space and search never may.
        named_by: the key that chooses the place.

    Raises:
        ConfigError: it is another sweep.
        InputError: the identity there is corrupt.
    """
    parts = [before.get(part, {}) for part in _PARTS] if isinstance(before, dict) else [before]
    if not all(isinstance(part, dict) for part in parts):
        raise InputError(f"{place}: {', '.join(_PARTS)}: must be mappings")
    differing = {}
    for part in _PARTS:
        if part == "config" and accept_changes:
            continue
        old, new = renamed_values(before.get(part, {})), renamed_values(now[part])
        old |= {
            key: value
            for key, (former, value) in _FORMER.items()
            if key in new and (old.get(key), new[key]) == (former, value)
        }
        differing[part] = [
            _difference(part, key, old, new)
            for key in {**old, **new}
            if old.get(key) != new.get(key)
        ]
    texts = [text for part in differing.values() for text in part]
    if not texts:
        return
    is_config_alone = not (differing["space"] or differing["search"])
    way_out = ", or set hydra.sweeper.accept_changes=true" if is_config_alone else ""
    raise ConfigError(
        f"{place}: holds another sweep ({listed(texts, MOST_NAMED)}); choose another {named_by}"
        f"{way_out}"
    )


def changes(before: Mapping[str, Any], now: Plan) -> list[str]:
    """Return how code and versions differ from those that a sweep was begun with."""
    return differences(
        {"git": before["code"], "versions": before["versions"]},
        {"git": now.code, "versions": now.versions},
    )


def _difference(part: str, key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if part == "space":
        there, here = old.get(key, "not searched over"), new.get(key, "not searched over")
        return f"{there} there, {here} here"
    name = f"hydra.sweeper.{key}" if part == "search" else key
    return f"{name}={shown(old.get(key))} there, {shown(new.get(key))} here"


def flat_config(config: DictConfig, without: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved config by dotted keys, without ``hydra`` and the keys that are varied."""
    plain = OmegaConf.to_container(config, throw_on_missing=False)
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    varied = {key.lstrip("+") for key in without}
    return {
        key: value
        for key, value in flat(plain).items()
        if not any(key == name or key.startswith(f"{name}.") for name in (*varied, *MAY_DIFFER))
    }
