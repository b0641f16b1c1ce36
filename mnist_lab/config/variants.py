"""Trials of a sweep that differ in plain values of the same keys, composed as one config.

A grid of a thousand trials differs in numbers alone. The first is composed by Hydra and resolved
whole; another one's values are set in that config, by the types of its schema, and besides them
only what is an interpolation is read again.
"""

import pickle
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, QuotedString
from omegaconf import DictConfig, OmegaConf, flag_override

from mnist_lab.config import hydra_internals
from mnist_lab.config.resolve import reading

_READ = (  # by the lab while it composes: paths, and what classes a model has follows from
    *("root", "init_from", "default_root_dir", "dirpath", "save_dir", "run_dir"),
    *("_target_", "dataset", "split", "num_classes", "allow_targets"),
)
_REFERENCE = re.compile(r"\$\{(hydra:)?([a-z_][\w.]*\w)\}", re.IGNORECASE)  # to another key
_NAME = re.compile(r"[\w.]+")
_Path = tuple[str, ...]  # of a key


@dataclass(frozen=True)
class Launch:
    """What a trial is started from.

    Args:
        run_dir: its directory.
        config: its resolved config, without Hydra's node.
        files: names and contents of what Hydra leaves in its directory.
    """

    run_dir: Path
    config: DictConfig
    files: dict[Path, str]


@dataclass(frozen=True)
class Parts:
    """The overrides of a trial.

    Args:
        all: all of them.
        groups: the choices of files that only some trials make.
        values: the other overrides that only some trials have.
    """

    all: list[Override]
    groups: list[Override]
    values: list[Override]

    @property
    def key(self) -> Hashable:
        """What trials have in common that may differ in values alone."""
        others = [str(item.input_line) for item in self.all if item not in self.values]
        keys = [item.get_key_element() for item in self.values]
        return tuple(others), tuple(keys), self.are_plain

    @property
    def are_plain(self) -> bool:
        """Whether the values are plain ones, of keys that nothing is composed by."""
        return all(
            not (item.is_add() or item.is_delete() or item.is_force_add())
            and not item.is_hydra_override()
            and item.key_or_group.rpartition(".")[2] not in _READ
            and item.package is None
            and _is_plain(item.value())
            for item in self.values
        )


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return not any(isinstance(part, list) for part in value) and all(map(_is_plain, value))
    if isinstance(value, QuotedString):
        value = value.text
    return "${" not in value if isinstance(value, str) else isinstance(value, int | float | None)


class Variants:
    """Trials that have the values of a few keys of their own.

    Args:
        composed: the config of one of them, not resolved.
        resolved: the same, resolved.
        parts: its overrides, whose values are of these keys.

    Raises:
        ValueError: they, or interpolations, do not stand for single values.
    """

    def __init__(self, composed: DictConfig, resolved: DictConfig, parts: Parts) -> None:
        self._config: DictConfig = pickle.loads(pickle.dumps(composed))
        OmegaConf.set_readonly(self._config.hydra, False)
        self._keys = [tuple(item.key_or_group.split(".")) for item in parts.values]
        plain: Any = OmegaConf.to_container(self._config, enum_to_str=True)
        hydra = plain.pop("hydra")
        self._hydra, self._subdir = pickle.dumps({"hydra": hydra}), str(hydra["sweep"]["subdir"])
        self._links = _following(self._keys, dict(_interpolations(plain)))
        self._plain = pickle.dumps(plain)
        for path in (*self._keys, *self._links):
            value = _builtin(_read(resolved, path))
            if isinstance(value, dict) or "${" in str(value):
                raise ValueError(f"{'.'.join(path)}: no single value")
        with reading(resolved):
            self._sweep_dir = str(resolved.hydra.sweep.dir)
        sweep = {"dir": self._sweep_dir, "subdir": None}
        place = {"mode": resolved.hydra.mode, "sweep": sweep}
        resolved = OmegaConf.masked_copy(resolved, [*set(resolved) - {"hydra"}])
        with flag_override(resolved, ["struct", "readonly"], [False, False]):
            resolved.hydra = place
        self._resolved = pickle.dumps(resolved)

    def composed(self, parts: Parts) -> DictConfig:
        """Return the config of a trial, not resolved.

        Raises:
            ConfigCompositionException: a value does not fit.
        """
        self._apply(parts)
        self._set_job("???", "???", "???")
        config: DictConfig = pickle.loads(pickle.dumps(self._config))
        return config

    def resolved(self, parts: Parts, number: int) -> DictConfig:
        """Return the resolved config of a trial, with as much of Hydra's node as names its place.

        Raises:
            ConfigCompositionException: a value does not fit.
        """
        self._apply(parts)
        return self._read_config(number, ".")

    def launch(self, parts: Parts, number: int) -> Launch:
        """Return what a trial is started from, as Hydra does it."""
        self._apply(parts)
        self._set_job(number, str(number), ".")
        run_dir = Path(self._sweep_dir, self._read_subdir()).absolute()
        config = self._read_config(number, str(run_dir))
        with flag_override(config, ["struct", "readonly"], [False, False]):
            del config["hydra"]
        folder = self._config.hydra.output_subdir
        files = {} if folder is None else self._files()
        return Launch(run_dir, config, {Path(folder, name): files[name] for name in files})

    def _files(self) -> dict[str, str]:
        """Return what Hydra leaves of a trial."""
        plain, hydra = pickle.loads(self._plain), pickle.loads(self._hydra)
        for path in self._keys:
            _write(plain, path, _read(self._config, path))
        own, its = self._config.hydra, hydra["hydra"]
        its["runtime"]["output_dir"] = own.runtime.output_dir
        # As they were typed: an interpolation in them is not read.
        its["overrides"]["task"] = task = OmegaConf.to_container(own.overrides.task)
        job: Any = OmegaConf.to_container(own.job)
        its["job"] |= {name: job[name] for name in ("num", "id", "override_dirname") if name in job}
        contents = {"config.yaml": plain, "hydra.yaml": hydra, "overrides.yaml": task}
        return {name: hydra_internals.to_yaml(content) for name, content in contents.items()}

    def _apply(self, parts: Parts) -> None:
        hydra_internals.apply_overrides(self._config, parts.values)
        hydra_internals.set_overrides(self._config, parts.all)

    def _read_config(self, number: int, output_dir: str) -> DictConfig:
        self._set_job(number, str(number), output_dir)
        config: DictConfig = pickle.loads(self._resolved)
        with reading(self._config):
            for path in (*self._keys, *self._links):
                _write(config, path, self._value(self._links.get(path), path))
        config.hydra.sweep.subdir = self._read_subdir()
        return config

    def _read_subdir(self) -> str:
        with reading(self._config):
            return str(self._value(self._subdir, ("hydra", "sweep", "subdir")))

    def _value(self, text: str | None, path: _Path) -> Any:
        """Return the value of a key; what names another key is read here, as parsing is slow."""
        if text is None or (reference := _REFERENCE.fullmatch(text)) is None:
            return _read(self._config, path)
        other = (*(("hydra",) if reference[1] else ()), *reference[2].split("."))
        return self._value(self._links.get(other), other)

    def _set_job(self, number: int | str, name: str, output_dir: str) -> None:
        hydra = self._config.hydra
        with flag_override(hydra, ["struct", "readonly"], [False, False]):
            hydra.runtime.output_dir = output_dir
            hydra.job.num, hydra.job.id = number, name


def _interpolations(node: Any, path: _Path = ()) -> Iterator[tuple[_Path, str]]:
    """Yield the keys of a config of builtins whose values are interpolations, and those."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _interpolations(value, (*path, key))
        elif "${" in str(value):
            yield (*path, key), str(value)


def _following(keys: Sequence[_Path], links: dict[_Path, str]) -> dict[_Path, str]:
    """Return the interpolations whose values follow from keys, or from Hydra's node."""
    following: dict[_Path, str] = {}
    is_of_all = any(key[0] == "metrics" for key in keys)  # as best_mode looks at those
    while True:
        names = {path[:end] for path in (*keys, *following) for end in range(1, len(path) + 1)}
        more = {
            path: text
            for path, text in links.items()
            if path not in (*keys, *following)
            and (is_of_all or not {("hydra",), *names}.isdisjoint(_mentioned(text)))
        }
        if not more:
            return following
        following |= more


def _mentioned(text: str) -> set[_Path]:
    """Return what may be the keys that an interpolation names."""
    return {("hydra",) if "${." in text else tuple(x.split(".")) for x in _NAME.findall(text)}


def _read(node: Any, path: Sequence[str]) -> Any:
    for key in path:
        node = node[key]
    return node


def _builtin(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _write(node: Any, path: _Path, value: Any) -> None:
    node = _read(node, path[:-1])
    node[path[-1]] = _builtin(value)
