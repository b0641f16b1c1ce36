"""Checkpoint files: written so that a kill loses none, read so that none can do harm."""

import hashlib
import logging
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins import CheckpointIO
from torch import Tensor
from typing_extensions import override

from mnist_lab.errors import InputError, LabError, StorageError, UntrustedError, first_line, reason
from mnist_lab.files import replace_atomic

FOLDER = Path("checkpoints")
BEST = FOLDER / "best.ckpt"
LAST = FOLDER / "last.ckpt"
PREVIOUS = FOLDER / "previous.ckpt"  # what was last before, in case last is damaged
_DAMAGED = FOLDER / "damaged.ckpt"
_NAMES_CODE = {"GLOBAL", "INST", "STACK_GLOBAL"}  # what a pickle calls code with
_INSTANTIATED = ("_instantiator", "_class_path")  # hyperparameters that Lightning would import
_log = logging.getLogger(__name__)


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint beside its name, syncs it, and only then gives it the name.

    Lightning's own goes through ``$TMPDIR``, from where another file system's file is copied over
    the last good one. ``storage_options`` is where the file that is replaced goes, or None.
    """

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_atomic(path, lambda file: torch.save(checkpoint, file), keep=storage_options)
        except (OSError, RuntimeError) as error:  # the latter: torch's zip writer
            raise StorageError(f"{path}: cannot be written: {_disk_error(error)}") from error

    @override
    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    @override
    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def _disk_error(error: BaseException) -> str:
    """Return why a write failed: torch hides the system's answer behind its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return first_line(error)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint whole, with every checksum, and without running anything in it.

    Raises:
        InputError: the file is missing, cut or damaged, or no checkpoint.
        UntrustedError: the file names code.
    """
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                if _names_code(file.read(1_000_000)):
                    raise _untrusted(path)
                raise InputError(f"{path}: not a checkpoint, or one that was cut off")
            _check_archive(path, file)
            file.seek(0)
            # weights_only as an argument, which comes before what the environment says.
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _untrusted(path) from error  # the bytes are as they were written
    except LabError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
    except Exception as error:
        raise InputError(f"{path}: damaged, or no checkpoint: {first_line(error)}") from error
    _check_content(path, checkpoint)
    return checkpoint  # type: ignore[no-any-return]


def _check_archive(path: Path, file: BinaryIO) -> None:
    """Check the checksums that torch.save writes, which torch.load does not look at."""
    with zipfile.ZipFile(file) as archive:
        if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
            raise InputError(f"{path}: not a checkpoint: torch.save compresses nothing")
        if (damaged := archive.testzip()) is not None:
            raise InputError(f"{path}: damaged: the checksum of {damaged} is wrong")


def _names_code(content: bytes) -> bool:
    """Return whether the bytes begin with a pickle that asks for more than builtins."""
    try:
        for opcode, _, _ in pickletools.genops(content):
            if opcode.name in _NAMES_CODE:
                return True
    except Exception:  # whatever it is, it is no pickle from here on
        return False
    return False


def _untrusted(path: Path) -> UntrustedError:
    return UntrustedError(
        f"{path}: refused: it asks for code to be run, which no checkpoint of mnist_lab does"
    )


def _check_content(path: Path, checkpoint: Any) -> None:
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise InputError(f"{path}: not a checkpoint: it has no state_dict")
    if not all(isinstance(one, Tensor) for one in checkpoint["state_dict"].values()):
        raise InputError(f"{path}: not a checkpoint: its state_dict holds more than tensors")
    settings = checkpoint.get("hyper_parameters", {})
    if not isinstance(settings, dict):
        raise InputError(f"{path}: not a checkpoint: its hyper_parameters are no mapping")
    if found := [name for name in _INSTANTIATED if name in settings]:
        raise UntrustedError(f"{path}: refused: its hyper_parameters name code in {found[0]}")


def newest(run_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest good checkpoint of a run and its content; None where none was written.

    A damaged one is put aside, with a warning, if the one before it is good.

    Raises:
        InputError: there are checkpoints, and none is good.
        UntrustedError: a checkpoint names code.
    """
    last, previous = run_dir / LAST, run_dir / PREVIOUS
    failure: InputError | None = None
    for path in (last, previous):
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            failure = failure or error
            continue
        if failure is not None:
            _log.warning("%s; going on from %s", failure, path)
        return path, checkpoint
    if failure is None and (run_dir / BEST).exists():
        failure = InputError(f"{last}: missing, though there is {run_dir / BEST}")
    if failure is not None:
        raise failure
    return None


def put_aside_damaged(run_dir: Path, good: Path) -> None:
    """Keep a damaged ``last.ckpt`` from taking the place of the good one before it."""
    if good != run_dir / LAST and (run_dir / LAST).exists():
        (run_dir / LAST).replace(run_dir / _DAMAGED)


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
        for one in state:
            _update(digest, one)
    else:
        digest.update(f"{state!r};".encode())
