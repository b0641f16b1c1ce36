"""States of callbacks in a checkpoint, which may come from others, before they are restored."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from mnist_lab.config.allowlist import is_shipped_package
from mnist_lab.errors import InputError, UntrustedError


def check_states(trainer: L.Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Check that each state has the form of its callback's own, and names no files elsewhere.

    A state of the user's own callback is his.

    Raises:
        InputError: a state is of another form.
        UntrustedError: a ModelCheckpoint's names a file out of its folder, to delete it.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        state = checkpoint["callbacks"].get(callback.state_key)
        if state is None or not is_shipped_package(type(callback).__module__):
            continue
        if not _is_like(state, callback.state_dict()):
            name = type(callback).__name__
            raise InputError(f"{trainer.ckpt_path}: its state of {name} is missing values or wrong")
        if isinstance(callback, ModelCheckpoint):
            _check_files(str(trainer.ckpt_path), state)
            if not _is_below(state["best_model_path"], str(callback.dirpath)):
                state["best_model_path"] = ""  # the only path that is kept where the run was moved


def _is_like(value: Any, own: Any) -> bool:
    """Return whether a value has the types of a callback's own; None may become anything."""
    if isinstance(own, dict):
        return isinstance(value, dict) and all(
            name in value and _is_like(value[name], part) for name, part in own.items()
        )
    if isinstance(own, Tensor):
        return isinstance(value, Tensor) and value.numel() == own.numel()
    if isinstance(own, str):
        return value is None or isinstance(value, str)
    if isinstance(own, int | float):
        return isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
    return own is None or isinstance(value, type(own))


def _check_files(path: str, state: Mapping[str, Any]) -> None:
    if not all(isinstance(score, Tensor) for score in state["best_k_models"].values()):
        raise InputError(f"{path}: its state of ModelCheckpoint has scores that are no numbers")
    named = [state["kth_best_model_path"], state["last_model_path"], *state["best_k_models"]]
    for name in named:
        if not _is_below(name, str(state["dirpath"])):
            raise UntrustedError(f"{path}: refused: its state of ModelCheckpoint names {name}")


def _is_below(path: Any, folder: str) -> bool:
    """Return whether a path is empty, or one of a file below a folder."""
    parts = PurePath(str(path)).parts
    return not path or (".." not in parts and PurePath(*parts).is_relative_to(folder))
