"""Checks that a config or a run that came from elsewhere writes only below the run's directory."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.allowlist import find, is_shipped_package
from mnist_lab.errors import ConfigError, UntrustedError

_FOLDERS = ("run_dir", "default_root_dir", "save_dir", "dirpath")  # that the lab sets
_NAMES = ("name", "version", "sub_dir", "filename")  # in those, of folders and files
_NO_PATHS = ("_target_", "monitor", "prefix")  # names of classes and metrics
_METRIC = re.compile(r"\{\w[\w-]*(/\w[\w-]*)*(:[.\d]{0,4}\w?)?\}")  # in the name of a checkpoint
_PART = re.compile(r"[^/\\~$:{}\0-\x1f]*")
_WORDS = re.compile(r"[^/\\~$\0-\x1f]*")
_TYPED = {  # what else writes or connects, and what of it does neither
    "trainer.strategy": r"auto|ddp\w*|fsdp\w*",
    "trainer.profiler": "simple|advanced|pytorch",
    "trainer.model_registry": "",
}
_HYDRAS, _RUN = "${hydra:runtime.output_dir}", "${run_dir}"


def check_run_places(config: DictConfig) -> None:
    """Refuse another directory for a run than the one that Hydra gives it, and locks.

    Raises:
        ConfigError: the command line or a file names one.
    """
    plain: Any = OmegaConf.to_container(OmegaConf.masked_copy(config, ["run_dir", "trainer"]))
    trainer = plain["trainer"] if isinstance(plain["trainer"], dict) else {}
    for key, text, own in (
        ("run_dir", plain["run_dir"], _HYDRAS),
        ("trainer.default_root_dir", trainer.get("default_root_dir", _RUN), _RUN),
    ):
        if text != own:
            raise ConfigError(
                f"{key}: follows hydra.run.dir, or hydra.sweep.dir in a sweep; set that, and leave "
                "this out"
            )


def check_folders(plain: Any) -> None:
    """Refuse a config, as builtins, that came with a directory and has a run write elsewhere.

    Raises:
        UntrustedError: it names a folder elsewhere.
    """
    for name in _FOLDERS:
        for key, folder, _ in find(plain, name):
            if folder is not None and not _is_below(folder):
                raise UntrustedError(
                    f"{key}={folder}: not in the run's directory; to resume there, give the "
                    "command that started it again, with its hydra.run.dir or hydra.sweep.dir"
                )


def check_texts(plain: Any) -> None:
    """Refuse a config that came with a directory and has a text that may be a path or an address.

    Whatever its key is, a library may take it for one. Arguments of the user's own classes pass.

    Raises:
        UntrustedError: there is such a text.
    """
    for group in ("trainer", "logger", "callbacks"):
        for key, value in _texts(plain.get(group), group):
            if not _is_harmless(key, value):
                raise UntrustedError(
                    f"{key}={value}: is not taken from a run's config, as it may name a place or "
                    "an address; give the command that started the run again"
                )


def set_folders(plain: Any, place: Path) -> None:
    """Set every folder that a config writes to one in a directory, whichever it names."""
    for name in _FOLDERS:
        for _, folder, node in list(find(plain, name)):
            if folder is not None:
                node[name] = str(place / folder if _is_below(folder) else place / name)


def _is_below(folder: Any) -> bool:
    """Return whether a folder is the run's directory, a dot, or one below it by plain names."""
    root, *below = str(folder).split("/")
    return root == "." and all(map(_is_part, below))


def _is_part(text: str) -> bool:
    """Return whether a text is the name of one file or folder, or empty."""
    return _PART.fullmatch(text) is not None and not text.startswith(".") and ".." not in text


def _texts(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a config, without those of classes of the user's own."""
    if isinstance(node, dict):
        target = node.get("_target_")
        if target is None or is_shipped_package(target):
            for name, value in node.items():
                yield from _texts(value, f"{key}.{name}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from _texts(value, f"{key}.{place}")
    elif isinstance(node, str):
        yield key, node


def _is_harmless(key: str, text: str) -> bool:
    """Return whether a text is no place, or the name of one in a folder that the lab sets."""
    name = key.rpartition(".")[2]
    if name == "tracking_uri":
        return False
    if key in _TYPED:
        return re.fullmatch(_TYPED[key], text) is not None
    if name in _NO_PATHS or name in _FOLDERS:
        return True
    if name in _NAMES:
        return _is_part(_METRIC.sub("", text) if name == "filename" else text)
    return _WORDS.fullmatch(text) is not None and ".." not in text
