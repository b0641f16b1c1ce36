"""Composes configs by Hydra, each run and each trial once, and lets none out that is not admitted.

A ``Loader`` composes a run, or a sweep and then its trials, and checks which code they name.
jobs.py hands the very config that was checked to Hydra's jobs.
"""

import contextlib
import copy
import itertools
import logging
import pickle
import re
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.config import hydra_internals
from mnist_lab.config.allowlist import check_hydra_targets, check_targets
from mnist_lab.config.knob import requirement, shown
from mnist_lab.config.messages import one_line_errors
from mnist_lab.config.options import CONF
from mnist_lab.config.overrides import (
    RANGE,
    check_sweeps,
    given_overrides,
    key_and_value,
    opened_targets,
    own_choices,
    parse_overrides,
    with_names,
)
from mnist_lab.config.paths import check_place, make_absolute
from mnist_lab.config.renames import typed_overrides
from mnist_lab.config.resolve import follow_data, reading, resolve, resolved
from mnist_lab.config.schema import SCHEMAS, Train
from mnist_lab.config.sources import PRIMARY, Repository, register, search_path
from mnist_lab.config.validate import check
from mnist_lab.config.variants import Launch, Parts, Variants
from mnist_lab.config.write_paths import check_folders, check_run_places, check_texts
from mnist_lab.errors import ConfigError, UntrustedError

_log = logging.getLogger(__name__)


class Loader(hydra_internals.ConfigLoaderImpl):
    """Composes a run, or a sweep and its trials, and refuses code that is not admitted.

    Args:
        overrides: what is composed with.
        config_dirs: the user's own conf folders, besides the lab's.
        typed: the overrides that were typed, where the others are from a sweep's file; only these
            can open targets. None is all of them.

    Raises:
        ConfigError: there is no such folder, or an override cannot be read.
    """

    def __init__(
        self,
        overrides: Sequence[str],
        config_dirs: Sequence[str] = (),
        typed: Sequence[str] | None = None,
    ) -> None:
        register()
        path = search_path(config_dirs)
        super().__init__(path)
        self.repository = Repository(path)
        self._config_dirs = config_dirs
        self.is_from_file = typed is not None
        typed = overrides if typed is None else typed
        self.allowed = opened_targets(typed)
        self._named: dict[str, str] = {}  # overrides as Hydra takes them
        self.bases: dict[tuple[str, ...], bytes] = {}  # by the choices of files
        self.composed: dict[tuple[str, ...], bytes] = {}  # by all overrides
        self.variants: dict[Hashable, Variants | None] = {}  # by Parts.key

    def compose(self, overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """Compose the config of a run or a sweep; ``hydra.mode`` says which it is.

        The name of its directory is settled, so that each copy has the same.

        Args:
            overrides: besides the defaults.
            mode: what the command asks for, which a config may ask for as well.

        Raises:
            ConfigError: an override or a file is wrong.
            UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
        """
        overrides = self.with_names(overrides)
        with one_line_errors(overrides):
            config = self._from_files(overrides)
            mode = RunMode.MULTIRUN if config.hydra.mode == RunMode.MULTIRUN else mode
            config.hydra.mode = mode
            _check_set(config, mode)
            choices = config.hydra.runtime.choices
            if choices.get("sweep") == RANGE and choices["hydra/sweeper"] != RANGE:
                raise ConfigError(
                    f"sweep={RANGE}: must be typed, and hydra/sweeper must be left out with it"
                )
            self._say_hidden(choices, overrides)
            check_sweeps(parse_overrides(overrides), mode)
            key = "run" if mode == RunMode.RUN else "sweep"
            with reading(config):
                self._check_hydra(config.hydra)
                check_place(f"hydra.{key}.dir", str(config.hydra[key].dir or ""))
            check_run_places(config)
            make_absolute(config)
            if mode == RunMode.RUN:
                follow_data(config)
            plain: Any = OmegaConf.to_container(resolved(config, is_whole=True))
            hydra = plain.pop("hydra")
            check_hydra_targets(hydra, self.allowed)
            self._check_code(plain)
        return config

    def _say_hidden(self, choices: Mapping[str, Any], overrides: Sequence[str]) -> None:
        """Say which file of the user's own is not taken, as conf/ has a choice of its name."""
        folders = [Path(folder) for folder in self._config_dirs if not CONF.samefile(folder)]
        typed = [(item.key_or_group, item.value()) for item in parse_overrides(overrides)]
        names = dict.fromkeys(
            Path(group, f"{name}.yaml")
            for group, value in (*choices.items(), *typed)
            if folders and self.repository.group_exists(group)
            for name in re.findall(r"[\w-]+", str(value))  # one, those of a list or of a sweep
        )
        for folder, name in itertools.product(folders, names):
            if (folder / name).exists() and (CONF / name).exists():
                text = "%s: not taken, as the lab has a choice of that name; rename it"
                _log.warning(text, folder / name)

    def with_names(self, overrides: Sequence[str]) -> list[str]:
        """Return overrides as Hydra takes them, whose choices of groups are names.

        Raises:
            ConfigError: one cannot be read, or chooses something else.
        """
        for text, item in zip(overrides, parse_overrides(overrides), strict=True):
            if text in self._named:
                continue
            is_group = self.repository.group_exists(item.key_or_group)
            options = self.get_group_options(item.key_or_group) if is_group else []
            self._named[text] = with_names(item, options) if is_group else str(item.input_line)
        return [self._named[text] for text in overrides]

    def _check_hydra(self, hydra: DictConfig) -> None:
        """Refuse what Hydra itself takes for granted of its own node."""
        for name in ("run", "sweep"):
            if not OmegaConf.is_dict(hydra[name]):
                raise ConfigError(f"hydra.{name}={shown(hydra[name])}: must be a mapping")
        for name in ("launcher", "sweeper"):
            if OmegaConf.select(hydra, f"{name}._target_") is None:
                options = ", ".join(self.get_group_options(f"hydra/{name}"))
                raise ConfigError(f"hydra.{name}: must be chosen, one of {options}")
        if not isinstance(hydra.verbose, bool | str) and not OmegaConf.is_list(hydra.verbose):
            raise ConfigError(
                f"hydra.verbose={shown(hydra.verbose)}: must be true or false, or names of loggers"
            )

    def _from_files(self, overrides: Sequence[str]) -> DictConfig:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", r"provider=.* is not available", UserWarning)
            return self.load_configuration(
                config_name=PRIMARY,
                overrides=[*overrides, *own_choices(parse_overrides(overrides))],
                run_mode=RunMode.MULTIRUN,  # in which several values of a key are no error
                validate_sweep_overrides=False,
            )

    def _check_code(self, plain: dict[str, Any]) -> None:
        """Refuse code, and places that only a file names, and not who types the command."""
        if plain.get("allow_targets", []) != self.allowed:
            raise UntrustedError(
                "allow_targets: is taken from the command line only, not from a file"
            )
        check_targets(plain, self.allowed, is_typed=not self.is_from_file)
        if self.is_from_file:
            check_folders(plain)
            check_texts(plain)

    def trial(self, master: DictConfig, overrides: Sequence[str], number: int = 0) -> DictConfig:
        """Compose a trial, keep it for the launcher, and return a copy with its values resolved.

        Of Hydra's node the copy has at least what names the trial's directory.

        Raises:
            ConfigError: an override does not fit.
            UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
        """
        with one_line_errors(overrides):
            parts = self._parts(master, overrides)
            variants = self.variants.get(parts.key)
            if variants is not None:
                config = variants.resolved(parts, number)
            else:
                config = self._first_trial(master, overrides, parts, number)
            plain: Any = OmegaConf.to_container(config)
        plain.pop("hydra")
        self._check_code(plain)
        return config

    def _first_trial(
        self, master: DictConfig, overrides: Sequence[str], parts: Parts, number: int
    ) -> DictConfig:
        config = self._composed_trial(master, parts)
        check_run_places(config)
        make_absolute(config)
        follow_data(config)
        self.composed[tuple(overrides)] = pickle.dumps(config)
        whole = resolved(config, number)
        if parts.key not in self.variants:
            variants = None
            if parts.are_plain:
                with contextlib.suppress(ValueError, OmegaConfBaseException):
                    variants = Variants(config, whole, parts)
            self.variants[parts.key] = variants
        return whole

    def _parts(self, master: DictConfig, overrides: Sequence[str]) -> Parts:
        """Divide a trial's overrides into choices of files, values, and what all trials have."""
        parsed = parse_overrides(self.with_names(overrides))
        fixed = parse_overrides(given_overrides(master.hydra))
        known = {key_and_value(override) for override in fixed if not override.is_sweep_override()}
        new = [override for override in parsed if key_and_value(override) not in known]
        groups = [item for item in new if self.repository.group_exists(item.key_or_group)]
        values = [item for item in new if item not in groups]
        return Parts(parsed, groups, values)

    def _composed_trial(self, master: DictConfig, parts: Parts) -> DictConfig:
        """Apply a trial's values to the config that its choice of files makes.

        Hydra takes 80 ms for a config, more than a minute for a grid of a thousand; so each choice
        of files is composed by Hydra once, the sweep's own not again.
        """
        key = tuple(str(override.input_line) for override in parts.groups)
        if key not in self.bases:
            base = master
            if parts.groups:
                texts = [str(item.input_line) for item in parts.all if item not in parts.values]
                base = super().load_sweep_config(master, [*texts, *own_choices(parts.all)])
            self.bases[key] = pickle.dumps(base)
        config: DictConfig = pickle.loads(self.bases[key])
        hydra_internals.apply_overrides(config, parts.values)
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.mode = RunMode.MULTIRUN
        hydra_internals.set_overrides(config, parts.all)
        return config

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """Return a trial's config to a launcher: the one that was checked, if there is one."""
        return pickle.loads(self._pickled(master_config, sweep_overrides))  # type: ignore[no-any-return]

    def _pickled(self, master: DictConfig, overrides: Sequence[str]) -> bytes:
        key = tuple(overrides)
        if key not in self.composed:
            parts = self._parts(master, overrides)
            if (variants := self.variants.get(parts.key)) is not None:
                return pickle.dumps(variants.composed(parts))
            self.trial(master, overrides)
        return self.composed[key]

    def launch(self, master: DictConfig, overrides: Sequence[str], number: int) -> Launch | None:
        """Return what a checked trial is started from; None if its config is one of its own."""
        parts = self._parts(master, overrides)
        variants = self.variants.get(parts.key)
        return None if variants is None else variants.launch(parts, number)

    def only(self, master: DictConfig, trials: Sequence[Sequence[str]]) -> "Loader":
        """Return a copy that keeps what some trials are composed from, for another process."""
        loader = copy.copy(self)
        loader.bases, loader.variants, loader.composed = {}, {}, {}
        for trial in trials:
            key = self._parts(master, trial).key
            if (variants := self.variants.get(key)) is not None:
                loader.variants[key] = variants
            else:
                loader.composed[tuple(trial)] = self._pickled(master, trial)
        return loader

    def get_group_options(self, *arguments: Any, **options: Any) -> list[str]:
        """Return what can be chosen; a schema is a part of the choices, not one of them."""
        names = super().get_group_options(*arguments, **options)
        return [name for name in names if not name.endswith("_schema")]


def _check_set(config: DictConfig, mode: RunMode) -> None:
    """Refuse a config of which a key was left out, or which a run has no value for.

    Raises:
        ConfigError: there is one; the trials of a sweep may set a value yet.
    """
    names = set(config)  # a missing value is not in the config, but its name is
    for field in fields(Train):
        if field.name not in names and field.name not in SCHEMAS:
            raise ConfigError(f"{field.name}: cannot be left out; give it another value")
        if field.metadata and mode == RunMode.RUN and OmegaConf.is_missing(config, field.name):
            raise ConfigError(f"{field.name}: must be set: {requirement(field)}")


def compose(*overrides: str | Sequence[str]) -> DictConfig:
    """Compose and check a config as ``mnist-lab train`` does, without a run.

    ``hydra.utils.instantiate`` builds ``config.model`` and ``config.data``; the optimizer and the
    schedule are arguments of the model: ``instantiate(config.model, optimizer=config.optimizer)``.

    Args:
        overrides: as they are typed, ``compose("model=cnn", "optimizer.lr=1e-3")``; also a list.

    Returns:
        The config, resolved; its ``run_dir`` is the current folder.

    Raises:
        ConfigError: an override is wrong.
        UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
    """
    texts = [text for part in overrides for text in ([part] if isinstance(part, str) else part)]
    texts = typed_overrides(texts)
    config = Loader(texts).compose(texts)
    resolve(config)
    with flag_override(config, ["struct", "readonly"], [False, False]):
        del config["hydra"]
    check(config)
    if "net" in config.model:  # the model builds it from its settings, which its checkpoint holds
        with flag_override(config.model, "struct", False):
            config.model._recursive_ = False
    return config
