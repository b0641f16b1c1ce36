"""Where a config or a run that came from elsewhere may write."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from mnist_lab.config.allowlist import find
from mnist_lab.errors import ConfigError, UntrustedError

_FOLDERS = ("run_dir", "default_root_dir", "save_dir", "dirpath")  # that the lab's targets write to

_HYDRAS, _RUN = "${hydra:runtime.output_dir}", "${run_dir}"


def check_hydra_places(plain: Any, typed: Collection[str]) -> None:
    """Refuse what could have other programs run code: variables, and files outside of the run.

    ``PATH`` names the git that a run calls, and a log line in a shell's start-up file is a command.

    Args:
        plain: the resolved ``hydra`` node, with a dot as the run's directory.
        typed: keys that the command line gives, which may name anything.

    Raises:
        UntrustedError: a file sets a variable, or names a file that is not in the run's directory.
    """
    for name in plain["job"].get("env_set") or {}:
        if not _is_typed(key := f"hydra.job.env_set.{name}", typed):
            raise UntrustedError(f"{key}: variables are taken from the command line only")
    subdir = plain.get("output_subdir")
    if subdir is not None and not _is_typed("hydra.output_subdir", typed):
        _check_inside("hydra.output_subdir", subdir)
    for part in ("hydra_logging", "job_logging"):
        for key, name, _ in find(plain.get(part), "filename", f"hydra.{part}"):
            if not _is_typed(key, typed):
                _check_inside(key, name)
                if Path(name).suffix != ".log":
                    raise UntrustedError(f"{key}={name}: must end with .log")


def check_run_places(plain: Any, typed: Collection[str]) -> None:
    """Refuse another place for a run than the one that Hydra gives it, each trial its own.

    Args:
        plain: the config before it is resolved.
        typed: keys that the command line gives.

    Raises:
        ConfigError: the command line or a file names one.
    """
    trainer = plain.get("trainer")
    given = trainer.get("default_root_dir", _RUN) if isinstance(trainer, dict) else _RUN
    for key, text, own in (
        ("run_dir", plain.get("run_dir", _HYDRAS), _HYDRAS),
        ("trainer.default_root_dir", given, _RUN),
    ):
        if key in typed or text != own:
            raise ConfigError(
                f"{key}: follows hydra.run.dir, or hydra.sweep.dir in a sweep; set that"
            )


def _is_typed(key: str, typed: Collection[str]) -> bool:
    return any(f"{key}.".startswith(f"{one}.") for one in typed)


def _check_inside(key: str, name: Any) -> None:
    path = Path(str(name))
    if not isinstance(name, str) or path.is_absolute() or ".." in path.parts:
        raise UntrustedError(f"{key}={name}: must be in the run's directory, where a file names it")


def check_folders(plain: Any, run_dir: Path) -> None:
    """Refuse what would write outside of a run, as to go on cuts off what is in log files.

    Args:
        plain: the config that came with the run.
        run_dir: the run's directory.

    Raises:
        UntrustedError: it names a folder elsewhere.
    """
    inside = run_dir.resolve()
    for name in _FOLDERS:
        for key, folder, _ in find(plain, name):
            if folder is not None and not (run_dir / str(folder)).resolve().is_relative_to(inside):
                raise UntrustedError(
                    f"{key}={folder}: not in the run's directory; to go on there, give the command "
                    "that started it again, with its hydra.run.dir or hydra.sweep.dir"
                )


def set_folders(plain: Any, place: Path) -> None:
    """Have all that a config writes be in one folder, wherever its run has it."""
    for name in _FOLDERS:
        for _, folder, node in list(find(plain, name)):
            if folder is not None:
                node[name] = str(place if folder == "." else place / name)


def check_links(run_dir: Path) -> None:
    """Refuse a run whose files are links out of it: to go on writes to them, and cuts some off.

    Args:
        run_dir: the run's directory, which may be reached by a link itself.

    Raises:
        UntrustedError: there is such a link.
    """
    inside = run_dir.resolve()
    for path in [*run_dir.glob("*"), *run_dir.glob(".*"), *run_dir.glob("checkpoints/*")]:
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise UntrustedError(f"{path}: a link out of the run's directory; put the file there")
