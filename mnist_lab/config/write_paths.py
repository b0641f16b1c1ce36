"""Checks that a config or a run that came from elsewhere writes only below the run's directory."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.allowlist import find
from mnist_lab.errors import ConfigError, UntrustedError

_FOLDERS = ("run_dir", "default_root_dir", "save_dir", "dirpath")  # that the lab's targets write to
_HYDRAS, _RUN = "${hydra:runtime.output_dir}", "${run_dir}"


def check_run_places(config: DictConfig) -> None:
    """Refuse another directory for a run than the one that Hydra gives it, and locks.

    Args:
        config: a config before it is resolved.

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
                f"{key}: follows hydra.run.dir, or hydra.sweep.dir in a sweep; set that"
            )


def check_folders(plain: Any, run_dir: Path) -> None:
    """Refuse a config that came with a run and writes elsewhere, as a resume truncates log files.

    Raises:
        UntrustedError: it names a folder elsewhere.
    """
    inside = run_dir.resolve()
    for name in _FOLDERS:
        for key, folder, _ in find(plain, name):
            if folder is not None and not (run_dir / str(folder)).resolve().is_relative_to(inside):
                raise UntrustedError(
                    f"{key}={folder}: not in the run's directory; to resume there, give the "
                    "command that started it again, with its hydra.run.dir or hydra.sweep.dir"
                )


def set_folders(plain: Any, place: Path) -> None:
    """Set every folder that a config writes to one folder."""
    for name in _FOLDERS:
        for _, folder, node in list(find(plain, name)):
            if folder is not None:
                node[name] = str(place if folder == "." else place / name)
