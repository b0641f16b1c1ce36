"""Lightning's ModelCheckpoint beside the lab's own: in a folder of its own, resumed as the run is.

Paths are derived from where the run is now; of a state in a checkpoint only names are taken.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from mnist_lab.errors import ConfigError, InputError
from mnist_lab.runs.directory import CHECKPOINTS
from mnist_lab.training.lightning_internals import save_memory, set_save_memory

KEY = "model_checkpoints"  # of each one's files and memory in a checkpoint
_FOLDER = "model_checkpoint"
_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


def give_folders(trainer: L.Trainer) -> None:
    """Keep Lightning's checkpoints, which it saves beside the logs, apart from the run's own.

    Raises:
        ConfigError: one that was typed is where the run's own checkpoints are.
    """
    own = Path(trainer.default_root_dir, CHECKPOINTS)
    for number, callback in enumerate(_of(trainer)):
        if callback.dirpath is None:
            callback.dirpath = str(own / f"{_FOLDER}_{number}")
        elif Path(callback.dirpath).resolve() == own.resolve():
            raise ConfigError(
                f"ModelCheckpoint.dirpath={callback.dirpath}: is the folder of the run's own "
                "checkpoints; leave it out for a folder beside them"
            )


def files(trainer: L.Trainer) -> dict[str, dict[str, Any]]:
    """Return for each ModelCheckpoint its files, and what its own state lacks."""
    return {
        callback.state_key: {"files": _names(callback), **save_memory(callback)}
        for callback in _of(trainer)
    }


def rewind(trainer: L.Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Remove the files that were saved after a checkpoint, and have states name the others.

    Raises:
        InputError: a state is not that of a ModelCheckpoint.
    """
    for callback in _of(trainer):
        state = checkpoint["callbacks"].get(callback.state_key)
        kept = checkpoint.get(KEY, {}).get(callback.state_key)
        if state is None or kept is None:
            continue
        assert callback.dirpath is not None
        folder = Path(callback.dirpath)
        try:
            checkpoint["callbacks"][callback.state_key] = _moved(state, folder)
            memory = {name: value for name, value in kept.items() if name != "files"}
            set_save_memory(callback, memory, folder)
            names = set(kept["files"])
        except (AttributeError, LookupError, TypeError) as error:
            raise InputError(f"{trainer.ckpt_path}: its ModelCheckpoint is corrupt") from error
        is_own = folder.parent == Path(trainer.default_root_dir, CHECKPOINTS)
        for name in set(_names(callback)) - names if is_own and trainer.is_global_zero else ():
            (folder / name).unlink()


def _of(trainer: L.Trainer) -> list[ModelCheckpoint]:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, ModelCheckpoint)]


def _names(callback: ModelCheckpoint) -> list[str]:
    folder = str(callback.dirpath)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name for name in names if not os.path.isdir(os.path.join(folder, name)))


def _moved(state: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    moved = {name: _in(folder, state[name]) for name in _PATHS}
    best = {_in(folder, path): score for path, score in state["best_k_models"].items()}
    return {**state, **moved, "best_k_models": best, "dirpath": str(folder)}


def _in(folder: Path, path: str) -> str:
    """Return a file of a folder by the last part of its path; an empty path stays empty."""
    name = os.path.basename(path)
    return str(folder / name) if name not in ("", ".", "..") else ""
