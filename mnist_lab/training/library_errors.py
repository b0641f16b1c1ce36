"""Errors that Lightning and torch raise about a setting or a checkpoint, as errors of one line."""

import contextlib
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch
from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException

from mnist_lab.config.messages import explain
from mnist_lab.errors import ConfigError, InputError, LabError, first_line
from mnist_lab.training.checkpoints.callback import Checkpoint
from mnist_lab.training.lightning_internals import is_from_loading

_LIBRARIES = {"mnist_lab", "hydra", "lightning", "torch", "torchmetrics", *sys.stdlib_module_names}
_BYTES = "images that are bytes, as the lab's data has them: the module begins with images / 255"
_REFUSALS = AttributeError | ImportError | RuntimeError | TypeError | ValueError


@contextlib.contextmanager
def settings_taken() -> Iterator[None]:
    """Re-raise what Lightning or torch says of a setting as a ConfigError of one line.

    Raises:
        ConfigError: Lightning refuses a setting, or torch a batch or an amount of memory.
    """
    try:
        yield
    except LabError:
        raise
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, LabError):
            raise cause from None
        if isinstance(cause, Exception) and _is_about_a_setting(cause):
            raise ConfigError(explain(error)) from error
        raise
    except Exception as error:
        if _is_about_a_setting(error):
            raise ConfigError(first_line(error)) from error
        if re.search(r"\bByte\b|unsigned char", str(error)):
            error.add_note(_BYTES)
        raise


def _is_about_a_setting(error: Exception) -> bool:
    """Return whether Lightning or torch raised an error itself, with no user's code in between."""
    if isinstance(error, MisconfigurationException):
        return True
    frames = traceback.walk_tb(error.__traceback__)
    packages = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in frames]
    if not set(packages) <= _LIBRARIES:
        return False
    if packages[-1:] == ["torch"]:
        # A module has not what a callback looks for in it.
        is_missing = isinstance(error, AttributeError) and packages[-2:-1] == ["lightning"]
        return is_missing or _needs_memory(error) or isinstance(error, ValueError)
    return packages[-1:] == ["lightning"] and isinstance(error, _REFUSALS)


def _needs_memory(error: Exception) -> bool:
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "allocate memory" in str(error)


def _is_mismatch(error: Exception) -> bool:
    """Return whether Lightning or torch found, as it loaded a state, that it does not fit."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    is_kind = isinstance(
        error, AttributeError | LookupError | RuntimeError | TypeError | ValueError
    )
    is_librarys = package in ("lightning", "torch")
    return is_kind and is_librarys and is_from_loading(error) and not _needs_memory(error)


@contextlib.contextmanager
def loading(ckpt_path: str | Path | None, checkpoint: Checkpoint | None) -> Iterator[None]:
    """Re-raise what Lightning or torch says of a checkpoint's state in one line.

    The callback knows when the state is restored; where there is none, it is.

    Raises:
        InputError: the state is not of this model, its optimizer or its callbacks.
    """
    try:
        yield
    except LabError:
        raise
    except Exception as error:
        is_restored = ckpt_path is None or checkpoint is None or checkpoint.is_restored
        if is_restored or not _is_mismatch(error):
            raise
        raise InputError(f"{ckpt_path}: is of another run: {first_line(error)}") from error
