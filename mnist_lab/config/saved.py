"""Reads the config that a run left: to evaluate the run, to resume it, to verify it."""

import contextlib
import copy
import logging
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.config.allowlist import (
    EXTRAS,
    check_roles,
    check_targets,
    is_the_labs,
)
from mnist_lab.config.compose import compose
from mnist_lab.config.edit_check import FROM_DATA, MAY_DIFFER, check_unedited
from mnist_lab.config.hydra_internals import to_yaml
from mnist_lab.config.knob import shown
from mnist_lab.config.lengths import LENGTHS, is_longer, set_lengths
from mnist_lab.config.overrides import opened_targets, parse_overrides
from mnist_lab.config.paths import check_path, in_run, located, stored
from mnist_lab.config.portable_bits import choose_bits
from mnist_lab.config.renames import rename_in, renamed_values, typed_overrides, with_added
from mnist_lab.config.schema import SCHEMAS, Train, typed_node
from mnist_lab.config.sources import register
from mnist_lab.config.trainer_schema import PRECISIONS
from mnist_lab.config.validate import check
from mnist_lab.config.write_paths import check_folders, check_texts, set_folders
from mnist_lab.data.sets import DATASETS, OWN, chosen_set, has_set
from mnist_lab.errors import ConfigError, InputError, LabError, UntrustedError, first_line, listed
from mnist_lab.files.regular import check_links
from mnist_lab.files.yaml import check_yaml, problem_in
from mnist_lab.runs.directory import (
    CHECKPOINTS,
    CONFIG,
    LAST,
    MANIFEST,
    PREVIOUS,
    check_is_run,
    read_json,
    refuse_code,
)
from mnist_lab.runs.manifest import flat

_log = logging.getLogger(__name__)
_QUIET = ["logger=none", "callbacks=none", "trainer.enable_progress_bar=false"]
_DOES_NOT_FIT = (
    OmegaConfBaseException,
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)


def stored_config(run_dir: Path, overrides: Sequence[str]) -> DictConfig:
    """Return a run's config with other data or another trainer, for evaluation.

    The data are the run's own where no override says otherwise; the trainer is ``auto`` with the
    run's precision, since the machine may be another.

    Raises:
        ConfigError: an override is wrong or of another group.
        InputError: the run's config cannot be read, or was edited.
        UntrustedError: a target is neither the lab's nor opened by ``allow_targets``, or a link
            leads out of the directory.
    """
    path, overrides = run_dir / CONFIG, typed_overrides(overrides)
    check_links(run_dir)
    plain: Any = OmegaConf.to_container(read_stored(path))
    refuse_code(run_dir)
    chosen = [text.partition("=")[0].lstrip("+~") for text in overrides]
    for text, key in zip(overrides, chosen, strict=True):
        if key.partition(".")[0] not in ("data", "trainer", "allow_targets"):
            raise ConfigError(f"{text}: only data and trainer can be chosen for a trained model")
    allowed = opened_targets(overrides)
    check_targets(plain, allowed, is_typed=False)
    if "torch" not in sys.modules:  # else figures may differ in their last digits
        choose_bits(plain.get("bits"))
    with _as_input(path):
        data = dict(plain.get("data") or {})
    is_own = not is_the_labs(data.get("_target_")) and "dataset" not in data
    own_data = "data" not in chosen and is_own
    typed = [text for text, key in zip(overrides, chosen, strict=True) if key.startswith("data.")]
    if not (own_data or "data" in chosen) and data.get("dataset") not in DATASETS:
        raise InputError(f"{path}: data.dataset={data.get('dataset')}: no such set")
    composed = [text for text in overrides if not (own_data and text in typed)]
    config = compose([*_QUIET, *composed])
    with _as_input(path):
        config.model = _typed("model", OmegaConf.create(plain).model)
        config.metrics = plain.get("metrics")
        config.protocol = plain.get("protocol", "open")
        kept = {"augment"}
        if "data" in chosen:
            kept |= {"_target_", "dataset", "split"}
            if {data.get("dataset"), config.data.get("dataset")} & {*OWN}:
                kept |= {"root", "val_size", "split_seed"}
        data = located(plain["data"], run_dir.absolute())
        if own_data:
            config.data = _changed(OmegaConf.create(data), typed)
        for name, value in data.items():
            if name not in kept and f"data.{name}" not in chosen:
                config.data[name] = value
        if "trainer.precision" not in chosen:
            config.trainer.precision = _precision(run_dir / MANIFEST)
    check(config)
    check_roles(OmegaConf.to_container(config), allowed)
    check_unedited(run_dir, plain)
    return config


def _changed(data: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return a user's own data with other arguments."""
    for override in parse_overrides(overrides):
        OmegaConf.update(data, override.key_or_group.removeprefix("data."), override.value())
    return data


def _precision(manifest: Path) -> str:
    """Return the precision that a run was trained in, as its manifest says."""
    precision = read_json(manifest).get("precision", "auto")
    if precision not in PRECISIONS:
        raise InputError(f"{manifest}: precision={shown(precision)}: no such precision")
    return str(precision)


def run_config(
    run_dir: Path,
    allowed: Sequence[str],
    place: Path | None = None,
    init_from: str | None = None,
    lengths: Mapping[str, Any] | None = None,
) -> DictConfig:
    """Return the config of a run as it was, to resume it or to run it again.

    Args:
        run_dir: the run's directory, wherever it is now.
        allowed: targets that the command line opened; those of the file open none.
        place: the directory to run in; None is the run's own.
        init_from: what the command line names of the run's source of weights.
        lengths: the ``LENGTHS`` that were typed, which take the place of the file's.

    Raises:
        ConfigError: a length is wrong, this version of the lab does not take a value, or the
            machine lacks the device.
        InputError: the run's config cannot be read, or was edited.
        UntrustedError: a target is neither the lab's nor opened, a link leads out of the
            directory, or weights are to be read from elsewhere, and where was not typed.
    """
    register()
    path, folder = run_dir / CONFIG, (place or run_dir).absolute()
    check_path("the run's directory", str(folder))
    check_links(run_dir)
    content: Any = OmegaConf.to_container(read_stored(path))
    plain = copy.deepcopy(content)
    check_targets(plain, allowed, is_typed=False)
    if place is None:
        check_folders(plain)
    elif isinstance(loggers := plain.get("logger"), dict):  # nothing of a comparison is sent
        plain["logger"] = {
            name: node
            for name, node in loggers.items()
            if not isinstance(node, dict) or node.get("_target_") not in EXTRAS
        }
    check_texts(plain)
    set_folders(plain, folder)
    refuse_code(run_dir)
    with _as_input(path):
        data = located(plain["data"], run_dir.absolute())
        _check_root(data)
        source = located(plain.get("init_from"), run_dir.absolute())
        plain = located(plain, folder) | {"data": data, "init_from": init_from or source}
        config: DictConfig = OmegaConf.structured(Train)
        for name, node in OmegaConf.create(plain).items():
            config[name] = _typed(str(name), node)
        config.run_dir = config.trainer.default_root_dir = str(folder)
        config.allow_targets = list(allowed)
        OmegaConf.resolve(config)
        choose_bits(config.bits)
        set_lengths(config, lengths or {})
        check(config)
        if init_from is None:
            _check_source(config, run_dir, is_again=place is not None)
        elif source is None:
            raise ConfigError(f"init_from={init_from}: the run did not begin with other weights")
    check_roles(OmegaConf.to_container(config), allowed)
    check_unedited(run_dir, content)
    return config


def _check_source(config: DictConfig, run_dir: Path, is_again: bool) -> None:
    """Refuse to read weights from outside a run's directory, as only who types a path may name it.

    A run that has a checkpoint is resumed from that, and its source is not read again.
    """
    source = config.init_from
    is_read = is_again or not any((run_dir / path).exists() for path in (LAST, PREVIOUS))
    if source is None or not is_read:
        return
    if ".." in Path(source).parts or not Path(source).is_relative_to(run_dir.absolute()):
        raise UntrustedError(
            f"init_from={source}: is outside the run's directory, and taken from the command line "
            f"only; type it again: init_from={shlex.quote(source)}"
        )


def _check_root(data: Any) -> None:
    """Leave out a folder that would be filled, as one that a directory names is only read."""
    root, dataset = data.get("root"), data.get("dataset")
    if root is None or dataset in OWN or not is_the_labs(data["_target_"]):
        return
    if not has_set(root, chosen_set(dataset, data.get("split"))):
        _log.warning("data.root=%s: has not all files of data.dataset; the lab's are used", root)
        data["root"] = None


@contextlib.contextmanager
def _as_input(path: Path) -> Iterator[None]:
    """Re-raise what does not fit in a run's config as an error of the file."""
    try:
        yield
    except LabError:
        raise
    except _DOES_NOT_FIT as error:
        raise InputError(f"{path}: not a run's config: {first_line(error)}") from error


def _typed(group: str, node: Any) -> Any:
    """Give a group of a run's config the types of the schema that it was composed with."""
    if group == "callbacks" and node is not None:
        return {name: _merged(SCHEMAS[group].get(str(name)), part) for name, part in node.items()}
    if group == "scheduler" and node.get("name") == "none":
        node = {"name": "none"}  # typed over another choice, it left the settings of that
    schemas = SCHEMAS.get(group, {}).values()
    key = "name" if group in ("optimizer", "scheduler") else "_target_"
    fitting = [schema for schema in schemas if getattr(schema, key, None) == node.get(key)]
    return _merged(fitting[0] if fitting else None, node)


def _merged(schema: type[Any] | None, node: Any) -> Any:
    return OmegaConf.merge(typed_node(schema), node) if schema else node


def read_stored(path: Path) -> DictConfig:
    """Read a run's config, which is plain: it was resolved before it was written.

    Raises:
        ConfigError: its folder is a sweep's, or a checkpoint.
        InputError: the file cannot be read, holds too much, or no mapping.
        UntrustedError: it holds a tag, an alias or an interpolation.
    """
    check_is_run(path.parent)
    check_yaml(path)
    try:
        stored = OmegaConf.load(path)
    except Exception as error:
        raise InputError(f"{path}: cannot be read: {problem_in(error)}") from error
    if not isinstance(stored, DictConfig) or not stored:
        raise InputError(f"{path}: not a run's config: a mapping is required")
    for key in _interpolations(stored):
        raise UntrustedError(f"{path}: {key}: an interpolation, and a run's config has none")
    plain: Any = OmegaConf.to_container(stored)
    rename_in(plain)
    renewed = OmegaConf.create(plain)
    assert isinstance(renewed, DictConfig)
    return renewed


def portable(config: DictConfig) -> str:
    """Return a resolved config as YAML, with the run's path as a dot: a run can be moved."""
    return to_yaml(portable_values(config))


def portable_values(config: DictConfig) -> Any:
    """Return the values of ``portable``."""
    plain = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    return stored(plain, Path(str(config.run_dir)))


def check_same_config(run_dir: Path, config: DictConfig, may_go_further: bool = False) -> None:
    """Check that a directory is free, or holds a run of this very config, which can be resumed.

    Args:
        run_dir: the directory.
        config: a resolved config; a ``hydra`` node is not compared.
        may_go_further: whether it may have more epochs or steps than the run.

    Raises:
        ConfigError: there is a run with another config, or one that is not the lab's.
        InputError: the run's files cannot be read.
    """
    if not (run_dir / MANIFEST).exists():
        if (run_dir / CHECKPOINTS).exists():
            raise ConfigError(
                f"{run_dir}: holds checkpoints without a {MANIFEST}; choose another directory"
            )
        return
    content: Any = OmegaConf.to_container(read_stored(run_dir / CONFIG))
    check_unedited(run_dir, content)
    there = with_added(flat(located(content, ".")))
    plain: Any = OmegaConf.to_container(config)
    plain.pop("hydra", None)
    here = renamed_values(flat(in_run(plain, Path(os.path.abspath(run_dir)))))
    for values in (there, here):
        if values.get("metrics") == {}:  # as in a run from before there was such a group
            del values["metrics"]
    lengths = [{key: values.get(key) for key in LENGTHS} for values in (there, here)]
    free = LENGTHS if may_go_further and is_longer(*lengths) else ()
    differing = [
        f"{key}={there.get(key)} there, {here.get(key)} here"
        for key in sorted(there.keys() | here.keys())
        if key not in (*MAY_DIFFER, *free)
        and there.get(key) != here.get(key)
        and not (key in FROM_DATA and here.get(key) is None)
    ]
    if differing:
        raise ConfigError(
            f"{run_dir}: holds a run of another config ({listed(differing, 4)}); "
            f"choose another directory, or resume that run: mnist-lab resume {run_dir}"
        )


def _interpolations(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the full key of every interpolation, without resolving any."""
    is_list = OmegaConf.is_list(node)
    for key in range(len(node)) if is_list else list(node):
        path = f"{prefix}[{key}]" if is_list else f"{prefix}.{key}".lstrip(".")
        if OmegaConf.is_interpolation(node, key):
            yield path
        elif not OmegaConf.is_missing(node, key) and OmegaConf.is_config(node[key]):
            yield from _interpolations(node[key], path)
