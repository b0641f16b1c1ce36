"""Checkpoint files: written so that a kill loses none, read so that none can do harm."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from mnist_lab.errors import InputError, StorageError, UntrustedError, causes, first_line
from mnist_lab.files.atomic import replace_atomic
from mnist_lab.files.checkpoint_inspection import opened

_INSTANTIATED = ("_instantiator", "_class_path")  # hyperparameters that Lightning would import
_MAX_VALUES = 300_000  # a model of a thousand layers has 30,000
_MAX_DEPTH = 50


def write_checkpoint(
    path: Path,
    checkpoint: Mapping[str, Any],
    keep: Path | None = None,
    root: Path | None = None,
) -> None:
    """Write a checkpoint to a partial file, sync it, and only then rename it.

    ``keep`` and ``root`` are as in ``replace_atomic``.

    Raises:
        StorageError: it cannot be written.
        UntrustedError: a folder below ``root`` is a link.
    """
    try:
        (root or path.parent).mkdir(parents=True, exist_ok=True)
        replace_atomic(path, lambda file: torch.save(checkpoint, file), keep=keep, root=root)
    except (OSError, RuntimeError) as error:  # the latter: torch's zip writer
        raise StorageError(f"{path}: cannot be written: {_disk_error(error)}") from error


def _disk_error(error: BaseException) -> str:
    """Return why a write failed: torch hides the system's message behind its own."""
    messages = (cause.strerror for cause in causes(error) if isinstance(cause, OSError))
    return next(filter(None, messages), first_line(error))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint whole, with every checksum, and without running anything in it.

    Raises:
        InputError: the file is missing, truncated or corrupt, or not a checkpoint.
        UntrustedError: the file names code.
    """
    with opened(path) as file:
        # weights_only as an argument, which comes before what the environment says.
        try:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # torch read another pickle than was checked
            if "global" in str(error).lower():
                raise UntrustedError(f"{path}: refused: it asks for code to be run") from error
            raise InputError(f"{path}: not a checkpoint: its pickle is not torch.save's") from error
    _check_content(path, checkpoint)
    return checkpoint  # type: ignore[no-any-return]


def _check_content(path: Path, checkpoint: Any) -> None:
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise InputError(f"{path}: not a checkpoint: it has no state_dict")
    if not all(isinstance(value, Tensor) for value in checkpoint["state_dict"].values()):
        raise InputError(f"{path}: not a checkpoint: its state_dict holds more than tensors")
    _check_values(path, checkpoint)
    settings = checkpoint.get("hyper_parameters", {})
    if not isinstance(settings, dict):
        raise InputError(f"{path}: not a checkpoint: its hyper_parameters are not a mapping")
    for name in _INSTANTIATED:
        if name in settings or name in checkpoint:
            raise UntrustedError(f"{path}: refused: its hyper_parameters name code in {name}")


def _check_values(path: Path, checkpoint: Any) -> None:
    """Check that a file's content takes no more memory than the file.

    A tensor may claim any shape without the numbers for it, and lists may contain each other.
    """
    allowed = 4 * path.stat().st_size  # bytes of tensors, which may have several names
    values, unseen = 0, [(checkpoint, 0)]
    while unseen:
        value, depth = unseen.pop()
        values += 1
        if isinstance(value, Tensor):
            if type(value) not in (Tensor, Parameter) or value.layout is not torch.strided:
                raise InputError(f"{path}: not a checkpoint: it holds tensors of a strange kind")
            size = value.numel() * value.element_size()
            allowed -= size
            if value.is_meta or size > value.untyped_storage().nbytes() or allowed < 0:
                raise InputError(f"{path}: not a checkpoint: it holds less than its tensors need")
        elif isinstance(value, Mapping):
            unseen += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list | tuple | set):
            unseen += [(item, depth + 1) for item in value]
        if values + len(unseen) > _MAX_VALUES or depth > _MAX_DEPTH:
            raise InputError(f"{path}: not a checkpoint: it holds too many values, or too deep")


def sha256_of(state: Any) -> str:
    """Return a hash over tensors, numbers and names, nested as in a ``state_dict``."""
    digest = hashlib.sha256()
    _update(digest, state)
    return digest.hexdigest()


def _update(digest: Any, state: Any) -> None:
    if isinstance(state, Tensor):
        digest.update(f"{state.dtype}{list(state.shape)}".encode())
        digest.update(state.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    elif isinstance(state, Mapping):
        for key in sorted(state, key=str):
            digest.update(f"{key}:".encode())
            _update(digest, state[key])
    elif isinstance(state, list | tuple):
        for item in state:
            _update(digest, item)
    else:
        digest.update(f"{state!r};".encode())
