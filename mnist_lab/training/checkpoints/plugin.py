"""Lightning's plugin for checkpoints, which files/checkpoint.py writes; names the best one."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from typing_extensions import override

from mnist_lab.errors import ConfigError, UntrustedError
from mnist_lab.files.atomic import copy_atomic, link_atomic, remove, write_errors
from mnist_lab.files.checkpoint import read_checkpoint, write_checkpoint
from mnist_lab.files.checkpoint_inspection import opened
from mnist_lab.runs.directory import BEST

EARLIER_BEST = "earlier_best"  # content of the best checkpoint in a later one, until it is written


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint beside its name first, and reads none that names code.

    Lightning's own goes through ``$TMPDIR``; from another file system it is copied over the last
    good checkpoint. ``storage_options`` is the path that the replaced file is kept at, or None.
    Of hyperparameters, those that are or hold modules or functions are left out.

    Args:
        root: the run's directory, below which no link is followed; None where there is no run.
    """

    def __init__(self, root: Path | None = None) -> None:
        super().__init__()
        self._root = root
        self._is_known_to_load = False

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        for key in {"hyper_parameters", "datamodule_hyper_parameters"} & checkpoint.keys():
            kept = {name: value for name, value in checkpoint[key].items() if not is_code(value)}
            checkpoint = {**checkpoint, key: kept}
        write_checkpoint(Path(path), checkpoint, keep=storage_options, root=self._root_of(path))
        if not self._is_known_to_load:
            self._check_loads(Path(path))

    def _check_loads(self, path: Path) -> None:
        """Find out at the first save whether a user's own code saves more than can be loaded."""
        try:
            with opened(path):
                pass
        except UntrustedError as error:
            raise ConfigError(
                f"{error}; have your code save tensors, numbers, strings, lists and dicts only"
            ) from error
        self._is_known_to_load = True

    @override
    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    @override
    def remove_checkpoint(self, path: Any) -> None:
        remove(Path(path), self._root_of(path))

    def _root_of(self, path: Any) -> Path | None:
        """Return the run's directory, or None for a file that the user has placed elsewhere."""
        is_below = self._root is not None and Path(path).is_relative_to(self._root)
        return self._root if is_below else None


def is_code(value: Any) -> bool:
    """Return whether a hyperparameter is or holds a module, a class or a function."""
    if isinstance(value, dict):
        return any(map(is_code, value.values()))
    return any(map(is_code, value)) if isinstance(value, list | tuple) else callable(value)


def name_best(checkpoint: Path, folder: Path, key: str | None) -> None:
    """Make a checkpoint the best one of a run, by a second name: no file is written to in place.

    ``key`` is that of the best weights in it, where its own are others.

    Raises:
        StorageError: the best one cannot be written.
    """
    best = folder / BEST
    if key is not None:
        content = read_checkpoint(checkpoint)
        content["state_dict"] = content.pop(key)
        write_checkpoint(best, content, root=folder)
    elif not (best.exists() and best.samefile(checkpoint)):
        try:
            link_atomic(checkpoint, best, folder)
        except OSError:  # not every file system lets a file have two names
            with write_errors(best):
                copy_atomic(checkpoint, best, folder)


def separate(name: Path, root: Path) -> None:
    """Make a file of its own of one that has two names, so that damage to the other spares it.

    Raises:
        StorageError: the file cannot be written.
    """
    if name.exists() and name.stat().st_nlink > 1:
        with write_errors(name):
            copy_atomic(name, name, root)
