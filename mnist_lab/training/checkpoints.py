"""Checkpoint files: written so that a kill loses none, read so that none can do harm."""

import contextlib
import hashlib
import logging
import pickle
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins import CheckpointIO
from torch import Tensor
from torch.nn import Parameter
from typing_extensions import override

from mnist_lab.errors import ConfigError, InputError, StorageError, UntrustedError, first_line
from mnist_lab.files.atomic import replace_atomic
from mnist_lab.files.checkpoint_archive import opened
from mnist_lab.models import Classifier
from mnist_lab.models.optimizers import build_optimizer
from mnist_lab.runs.directory import BEST as BEST
from mnist_lab.runs.directory import CHECKPOINTS
from mnist_lab.runs.directory import LAST as LAST
from mnist_lab.runs.directory import PREVIOUS as PREVIOUS

_DAMAGED = Path(CHECKPOINTS, "damaged.ckpt")
_INSTANTIATED = ("_instantiator", "_class_path")  # hyperparameters that Lightning would import
_MAX_VALUES = 300_000  # a model of a thousand layers has 30,000
_MAX_DEPTH = 50
_log = logging.getLogger(__name__)


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint beside its name, syncs it, and only then gives it the name.

    Lightning's own goes through ``$TMPDIR``, from where another file system's file is copied over
    the last good one. ``storage_options`` is where the file that is replaced goes, or None.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_known_to_load = False

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
        if not self._is_known_to_load:
            self._check_loads(path)

    def _check_loads(self, path: Path) -> None:
        """Find at the first save, and not when it is needed, that one's own code saves too much."""
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
    with opened(path) as file:
        # weights_only as an argument, which comes before what the environment says.
        try:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # what was looked at is not what torch has found
            if "global" in str(error).lower():
                raise UntrustedError(f"{path}: refused: it asks for code to be run") from error
            raise InputError(f"{path}: not a checkpoint: its pickle is not torch.save's") from error
    _check_content(path, checkpoint)
    return checkpoint  # type: ignore[no-any-return]


def _check_content(path: Path, checkpoint: Any) -> None:
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise InputError(f"{path}: not a checkpoint: it has no state_dict")
    if not all(isinstance(one, Tensor) for one in checkpoint["state_dict"].values()):
        raise InputError(f"{path}: not a checkpoint: its state_dict holds more than tensors")
    _check_values(path, checkpoint)
    settings = checkpoint.get("hyper_parameters", {})
    if not isinstance(settings, dict):
        raise InputError(f"{path}: not a checkpoint: its hyper_parameters are no mapping")
    if found := [name for name in _INSTANTIATED if name in settings or name in checkpoint]:
        raise UntrustedError(f"{path}: refused: its hyper_parameters name code in {found[0]}")


def _check_values(path: Path, checkpoint: Any) -> None:
    """Check that what a file holds is no more than the file: nothing is repeated or made up.

    A tensor may have any shape without the numbers for it, and lists may hold each other.
    """
    allowed = 4 * path.stat().st_size  # of bytes in tensors: one may have several names
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
            unseen += [(one, depth + 1) for one in value.values()]
        elif isinstance(value, list | tuple | set):
            unseen += [(one, depth + 1) for one in value]
        if values + len(unseen) > _MAX_VALUES or depth > _MAX_DEPTH:
            raise InputError(f"{path}: not a checkpoint: it holds too many values, or too deep")


def newest(
    run_dir: Path, model: L.LightningModule | None = None, is_to_resume: bool = True
) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest good checkpoint of a run and its content; None where none was written.

    Args:
        run_dir: the run's directory.
        model: what the checkpoint must fit, on any device, as the meta device that takes no memory.
        is_to_resume: whether it needs all that a run goes on from, or weights alone.

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
            if is_to_resume:
                check_resumable(path, checkpoint)
            if model is not None:
                check_fits(path, checkpoint, model)
        except InputError as error:
            failure = failure or error
            continue
        if failure is not None:
            _log.warning("%s; going on from %s", failure, path)
        elif path == previous:
            _log.warning("%s: missing; going on from %s", last, path)
        return path, checkpoint
    if failure is None and (run_dir / BEST).exists():
        failure = InputError(f"{last}: missing, though there is {run_dir / BEST}")
    if failure is not None:
        raise failure
    return None


def check_resumable(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Check that a checkpoint has all that a run goes on from, each of its type.

    Raises:
        InputError: something is missing or wrong.
    """
    for name, is_right in _RESUMABLE.items():
        with contextlib.suppress(Exception):  # whatever a wrong type leads to
            if is_right(checkpoint[name]):
                continue
        raise InputError(f"{path}: a run cannot go on from it: {name} is missing or wrong")
    state = checkpoint["mnist_lab"]
    for name, is_right in _SNAPSHOT.items():
        with contextlib.suppress(Exception):
            if is_right(state[name]):
                continue
        raise InputError(
            f"{path}: a run cannot go on from it: mnist_lab.{name} is missing or wrong"
        )
    if state["batch"] > state["total_batches"]:
        raise InputError(
            f"{path}: a run cannot go on from it: more batches in an epoch than in all"
        )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_best(state: Any) -> bool:
    """Return whether it is what the callback that saves checkpoints knows of the best one."""
    score, step = state["best_score"], state["best_step"]
    is_right = (score is None or _is_number(score)) and (step is None or _is_count(step))
    return is_right and _is_number(state["seconds"])


def _is_optimizer(state: Any) -> bool:
    return isinstance(state["state"], dict) and all(
        isinstance(group, dict) and all(map(_is_count, group["params"]))
        for group in state["param_groups"]
    )


def _is_schedule(state: Any) -> bool:
    """Return whether it is no more than a schedule's numbers, which torch sets as attributes."""
    base = torch.optim.lr_scheduler.LRScheduler
    counts = [state[name] for name in ("last_epoch", "_step_count", "total_steps") if name in state]
    hides_method = any(callable(getattr(base, name, None)) for name in state)
    return "optimizer" not in state and not hides_method and all(map(_is_count, counts))


def _is_rank(state: Any) -> bool:
    """Return whether a rank's random generators take what is kept of them."""
    kept, running = state["random"], state["running"]
    random.Random().setstate(kept["python"])
    name, keys, *rest = kept["numpy"]
    np.random.RandomState().set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.Generator().set_state(kept["torch"])
    if not running:
        return running is None or running == {}
    sums, recent = running["sums"], running["recent"]
    return (
        sums.shape == (3,) and recent.dim() == 2 and len(recent) == 3 and sums.is_floating_point()
    )


def _are_lengths(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and Path(name).name == name and _is_count(length)
        for name, length in value.items()
    )


def _each(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_right, value))


_RESUMABLE: dict[str, Callable[[Any], bool]] = {
    "epoch": _is_count,
    "global_step": _is_count,
    "pytorch-lightning_version": lambda value: re.fullmatch(r"\d+(\.\w+)+", value) is not None,
    "callbacks": lambda value: any(_is_best(one) for one in value.values() if "best_step" in one),
    "optimizer_states": _each(_is_optimizer),
    "lr_schedulers": _each(_is_schedule),
    "mnist_lab": lambda value: isinstance(value, dict),
}
_SNAPSHOT: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("epoch", "batch", "step", "total_batches", "logged_steps"), _is_count),
    **dict.fromkeys(("is_finished", "is_best"), lambda value: isinstance(value, bool)),
    "ranks": lambda value: len(value) > 0 and _each(_is_rank)(value),
    "metrics": lambda value: all(one.numel() == 1 for one in value.values()),
    "logs": _each(_are_lengths),
}


def check_fits(path: Path, checkpoint: Mapping[str, Any], model: L.LightningModule) -> None:
    """Check that a checkpoint is of this model, and its optimizer's state of the model's weights.

    Torch's fused optimizers take the shapes of their state as given, and write beyond its end. What
    a model of one's own makes its optimizers of is not known here.

    Args:
        path: the checkpoint's file.
        checkpoint: its content.
        model: the model, on any device.

    Raises:
        InputError: names or shapes differ.
    """
    check_weights(path, checkpoint, model)
    makes_own = type(model).configure_optimizers is not Classifier.configure_optimizers
    if makes_own or not isinstance(model, Classifier) or not checkpoint.get("optimizer_states"):
        return
    needed = build_optimizer(model.optimizer_settings, model.parameters(), fused=False)
    with contextlib.suppress(Exception):  # whatever a wrong type leads to
        (state,) = checkpoint["optimizer_states"]
        (found,), (group,) = state["param_groups"], needed.param_groups
        shapes = [one.shape for one in group.pop("params")]
        if (
            found["params"] == list(range(len(shapes)))
            and all(_is_like(found[name], setting) for name, setting in group.items())
            and all(_is_state_of(shapes[number], one) for number, one in state["state"].items())
        ):
            return
    raise InputError(f"{path}: its optimizer_states are not of this model's optimizer")


def _is_state_of(shape: torch.Size, state: dict[str, Any]) -> bool:
    """Return whether it is what an optimizer keeps of a parameter of a shape."""
    names = [name for name in state if name != "step"]
    if "step" in state and (
        state["step"].shape != () or not {"exp_avg", "exp_avg_sq"} <= set(names)
    ):
        return False
    return all(state[name] is None or state[name].shape == shape for name in names)


def _is_like(found: Any, needed: Any) -> bool:
    """Return whether a setting of an optimizer is of the type that it has."""
    if isinstance(needed, list | tuple):
        return len(found) == len(needed) and all(map(_is_number, found))
    if isinstance(needed, bool) or needed is None:
        return found is None or isinstance(found, bool)
    return _is_number(found)


def check_weights(path: Path, checkpoint: Mapping[str, Any], model: torch.nn.Module) -> None:
    """Check that a checkpoint has a model's weights, by their names and shapes.

    Raises:
        InputError: they differ.
    """
    found = {name: tensor.shape for name, tensor in checkpoint["state_dict"].items()}
    needed = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if found != needed:
        name = next(name for name in {**needed, **found} if found.get(name) != needed.get(name))
        raise InputError(
            f"{path}: not a checkpoint of this model: {name} is {_shape(found.get(name))} there, "
            f"{_shape(needed.get(name))} in the model"
        )


def _shape(shape: torch.Size | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "a number"


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
