"""What a sweep is: kept in its directory, so that nothing else is taken for the same."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.allowlist import renamed
from mnist_lab.config.field import shown
from mnist_lab.config.saved import MAY_DIFFER
from mnist_lab.errors import ConfigError, InputError
from mnist_lab.runs import directory
from mnist_lab.runs.manifest import flat

FILE = "sweep.json"
_PACKAGE = Path(__file__).parents[1]
_PARTS = ("space", "search", "config", "code", "versions")
_NOT_TAKEN = ("allow_targets=", "hydra.sweep.dir=", "hydra.sweeper.retry_failed=")
_KINDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys((*_PARTS, "study"), (dict, "a mapping")),
    "overrides": (list, "a list"),
    "config_dir": (str | None, "text or null"),
    "home": (str, "text"),
}
_SHOWN = 3  # differences that an error names


@dataclass(frozen=True)
class Plan:
    """What makes two sweeps the same, each part flat.

    Args:
        space: keys and what they are searched over.
        search: sampler, pruner, their options and the objectives.
        config: what is the same for all trials.
        code: a hash of each of the lab's files.
        versions: of the packages that results depend on.
        overrides: the command that started the sweep; another may go on with it.
        config_dir: the folder of the user's own choices.
        study: where the study is, and its name there.
        home: the sweep's directory, whatever its name is.
    """

    space: dict[str, str]
    search: dict[str, Any]
    config: dict[str, Any]
    code: dict[str, str] = field(default_factory=lambda: _sources())
    versions: dict[str, str] = field(default_factory=lambda: _versions())
    overrides: list[str] = field(default_factory=list)
    config_dir: str | None = None
    study: dict[str, str | None] = field(default_factory=dict)
    home: str = field(default_factory=lambda: secrets.token_hex(8))

    def content(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return content

    def identity(self) -> dict[str, Any]:
        """Return what has to be the same, as JSON has it."""
        return identity_of(self.content())


def identity_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that have to be the same."""
    return {part: content[part] for part in _PARTS}


def stored_arguments(folder: Path) -> list[str]:
    """Return the arguments of ``mnist-lab train`` that go on with a directory's sweep.

    What ``allow_targets`` opened is left out, as a file must not open code.

    Raises:
        InputError: the directory holds no sweep, or its file is damaged.
    """
    stored = read_plan(folder)
    if stored is None:
        raise InputError(f"{folder / FILE}: no such file; is {folder} a sweep's directory?")
    overrides, config_dir = stored["overrides"], stored["config_dir"]
    if not all(isinstance(one, str) and not one.startswith("-") for one in overrides):
        raise InputError(f"{folder / FILE}: overrides: must be of the form key=value")
    own = [one for one in overrides if not one.startswith(_NOT_TAKEN)]
    place = QuotedString(str(folder), Quote.single).with_quotes()
    folders = ["--config-dir", config_dir] if config_dir else []
    return ["-m", *folders, *own, f"hydra.sweep.dir={place}"]


def read_plan(folder: Path) -> dict[str, Any] | None:
    """Return what a directory's sweep is; None where it holds none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    content = directory.read_json(path)
    for name, (kind, words) in _KINDS.items():
        if name not in content or not isinstance(content[name], kind):
            raise InputError(f"{path}: {name}: must be {words}; put back the file that was there")
    content["config"] = {key: renamed(value) for key, value in content["config"].items()}
    return content


def write_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Write what a directory's sweep is."""
    directory.write(folder / FILE, json.dumps(plan, indent=2, default=str) + "\n")


def check_same(
    place: object,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    accept_changes: bool,
    named_by: str = "hydra.sweep.dir",
) -> None:
    """Check that a sweep which goes on is the one that was begun.

    Args:
        place: where it is kept.
        before: what it was.
        now: what is asked for.
        accept_changes: whether config, code and versions may differ; the space never may.
        named_by: the key that chooses the place.

    Raises:
        ConfigError: it is another one.
    """
    differing = []
    can_accept = True
    for part in _PARTS:
        old, new = before.get(part, {}), now[part]
        found = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        if part in ("space", "search"):
            can_accept = can_accept and not found
        elif accept_changes:
            continue
        differing += [_difference(part, key, old, new) for key in found]
    if not differing:
        return
    text = "; ".join(differing[:_SHOWN])
    if len(differing) > _SHOWN:
        text += f" and {len(differing) - _SHOWN} more"
    way_out = ", or take hydra.sweeper.accept_changes=true" if can_accept else ""
    raise ConfigError(f"{place}: holds another sweep ({text}); choose another {named_by}{way_out}")


def _difference(part: str, key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if part == "code":
        return f"{key} has changed"
    if part == "space":
        there, here = old.get(key, "not searched over"), new.get(key, "not searched over")
        return f"{there} there, {here} here"
    name = f"hydra.sweeper.{key}" if part == "search" else key
    return f"{name}={shown(old.get(key))} there, {shown(new.get(key))} here"


def flat_config(config: DictConfig, without: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved config with dotted keys, less ``hydra`` and what a sweep varies."""
    plain = OmegaConf.to_container(config, throw_on_missing=False)
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    varied = {key.lstrip("+") for key in without}
    return {
        key: value
        for key, value in flat(plain).items()
        if not any(key == one or key.startswith(f"{one}.") for one in (*varied, *MAY_DIFFER))
    }


def _sources() -> dict[str, str]:
    return {
        str(path.relative_to(_PACKAGE.parent)): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in sorted(_PACKAGE.rglob("*.py"))
    }


def _versions() -> dict[str, str]:
    return {
        name: version(name) for name in ("torch", "lightning", "torchmetrics", "numpy", "optuna")
    }
