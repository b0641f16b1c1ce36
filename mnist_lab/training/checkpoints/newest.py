"""Checkpoints of a run: the newest one that it can be resumed from, checked against its model."""

import contextlib
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from mnist_lab.errors import InputError
from mnist_lab.files.atomic import rename
from mnist_lab.files.checkpoint import read_checkpoint
from mnist_lab.models import Classifier
from mnist_lab.models.arguments import OPTIMIZERS
from mnist_lab.models.optimizers import build_optimizer
from mnist_lab.runs.directory import BEST, CHECKPOINTS, LAST, PREVIOUS
from mnist_lab.runs.manifest import is_finished
from mnist_lab.training.checkpoints.plugin import EARLIER_BEST
from mnist_lab.training.checkpoints.resume_state import KEY, is_count, read_snapshot
from mnist_lab.training.judged_weights import JUDGED

_COMPILED = "_orig_mod."
_DAMAGED = Path(CHECKPOINTS, "damaged.ckpt")
_log = logging.getLogger(__name__)


def newest(
    run_dir: Path, model: L.LightningModule | None = None, is_to_resume: bool = True
) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest good checkpoint of a run and its content; None where none was written.

    Args:
        run_dir: the run's directory.
        model: the model that the checkpoint must fit, on any device, such as the meta device.
        is_to_resume: whether it needs all that a run is resumed from, or weights alone.

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
            _log.warning("%s; resuming from %s", failure, path)
        elif path == previous:
            _log.warning("%s: missing; resuming from %s", last, path)
        return path, checkpoint
    if failure is None and (run_dir / BEST).exists():
        failure = InputError(f"{last}: missing, though there is {run_dir / BEST}")
    if failure is not None:
        raise failure
    return None


def best_of(run_dir: Path) -> tuple[Path, dict[str, Any]]:
    """Return the best checkpoint of a run, else its newest, and its content.

    Raises:
        InputError: there is none, or it is corrupt.
        UntrustedError: a checkpoint names code.
    """
    path = run_dir / BEST
    if path.exists():
        return path, read_checkpoint(path)
    if last := newest(run_dir, is_to_resume=False):
        return last
    if is_finished(run_dir):
        raise InputError(
            f"{run_dir}: no checkpoint in it: removed, or its run kept none (callbacks=none, "
            "trainer.enable_checkpointing=false or fast_dev_run); train it with checkpoints"
        )
    raise InputError(f"{run_dir}: no checkpoint in it; is it a run's directory?")


def check_resumable(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Check that a checkpoint has all that a run is resumed from, each of its type.

    Raises:
        InputError: something is missing or wrong.
    """
    for name, is_right in _RESUMABLE.items():
        with contextlib.suppress(Exception):  # whatever a wrong type leads to
            if is_right(checkpoint[name]):
                continue
        raise InputError(f"{path}: a run cannot be resumed from it: {name} is missing or wrong")
    read_snapshot(path, checkpoint)
    if EARLIER_BEST in checkpoint:
        check_resumable(path, checkpoint[EARLIER_BEST])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_best(state: Any) -> bool:
    """Return whether a callback's state is that of the one that saves checkpoints."""
    if "best_step" not in state:
        return False
    score, step = state["best_score"], state["best_step"]
    is_right = (score is None or _is_number(score)) and (step is None or is_count(step))
    return is_right and _is_number(state["seconds"])


def _is_optimizer(state: Any) -> bool:
    return isinstance(state["state"], dict) and all(
        isinstance(group, dict) and all(map(is_count, group["params"]))
        for group in state["param_groups"]
    )


def _is_schedule(state: Any) -> bool:
    """Return whether a state holds a schedule's numbers only, which torch sets as attributes."""
    base = torch.optim.lr_scheduler.LRScheduler
    counts = [state[name] for name in ("last_epoch", "_step_count", "total_steps") if name in state]
    hides_method = any(callable(getattr(base, name, None)) for name in state)
    return "optimizer" not in state and not hides_method and all(map(is_count, counts))


def _each(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_right, value))


_RESUMABLE: dict[str, Callable[[Any], bool]] = {
    "state_dict": lambda value: all(torch.is_tensor(weight) for weight in value.values()),
    "epoch": is_count,
    "global_step": is_count,
    "pytorch-lightning_version": lambda value: re.fullmatch(r"\d+(\.\w+)+", value) is not None,
    "callbacks": lambda value: any(map(_is_best, value.values())),
    "optimizer_states": _each(_is_optimizer),
    "lr_schedulers": _each(_is_schedule),
    KEY: lambda value: isinstance(value, dict),
}


def check_fits(path: Path, checkpoint: Mapping[str, Any], model: L.LightningModule) -> None:
    """Check that a checkpoint is of this model, and its optimizer's state of the model's weights.

    Torch's fused optimizers do not check the shapes of their state, and write beyond its end. The
    optimizers of a user's own ``configure_optimizers`` are not known here.

    Raises:
        InputError: names or shapes differ.
    """
    check_weights(path, weights_of(checkpoint, model), model)
    if JUDGED in checkpoint:  # of which no hook knows
        check_weights(path, checkpoint[JUDGED], model)
    if EARLIER_BEST in checkpoint:
        check_weights(path, checkpoint[EARLIER_BEST]["state_dict"], model)
    makes_own = type(model).configure_optimizers is not Classifier.configure_optimizers
    if makes_own or not isinstance(model, Classifier) or not checkpoint.get("optimizer_states"):
        return
    needed = build_optimizer(model.optimizer_settings, model.parameters(), fused=False)
    with contextlib.suppress(Exception):  # whatever a wrong type leads to
        (state,) = checkpoint["optimizer_states"]
        groups = list(zip(state["param_groups"], needed.param_groups, strict=True))
        shapes = [weight.shape for _, group in groups for weight in group.pop("params")]
        is_known = model.optimizer_settings["name"] in OPTIMIZERS
        if (
            [number for stored, _ in groups for number in stored["params"]]
            == list(range(len(shapes)))
            and all(
                _is_like(stored[name], group[name]) for stored, group in groups for name in group
            )
            and all(
                _is_state_of(shapes[n], moments) if is_known else isinstance(moments, dict)
                for n, moments in state["state"].items()
            )
        ):
            return
    raise InputError(f"{path}: its optimizer_states are not of this model's optimizer")


def _is_state_of(shape: torch.Size, state: dict[str, Any]) -> bool:
    """Return whether a state is that of one parameter of a shape in an optimizer."""
    names = [name for name in state if name != "step"]
    if "step" in state and (
        state["step"].shape != () or not {"exp_avg", "exp_avg_sq"} <= set(names)
    ):
        return False
    return all(state[name] is None or state[name].shape == shape for name in names)


def _is_like(value: Any, needed: Any) -> bool:
    """Return whether a setting of an optimizer has the type that is needed."""
    if isinstance(needed, list | tuple):
        return len(value) == len(needed) and all(map(_is_number, value))
    if isinstance(needed, str):
        return isinstance(value, str)
    if isinstance(needed, bool) or needed is None:
        return value is None or isinstance(value, bool)
    return _is_number(value)


def weights_of(checkpoint: Mapping[str, Any], model: L.LightningModule) -> Any:
    """Return a checkpoint's weights by the names that a model has.

    Where they have others, its own ``on_load_checkpoint`` names them, or it was compiled.
    """
    if checkpoint["state_dict"].keys() == model.state_dict().keys():
        return checkpoint["state_dict"]
    content = {**checkpoint, "state_dict": dict(checkpoint["state_dict"])}
    model.on_load_checkpoint(content)
    return uncompiled(content["state_dict"], model)


def uncompiled(weights: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """Return weights without what torch.compile puts into their names, where a model has those."""
    plain = {str(name).replace(_COMPILED, ""): weight for name, weight in weights.items()}
    return plain if plain.keys() == model.state_dict().keys() else weights


def check_weights(path: Path, weights: Mapping[str, Tensor], model: nn.Module) -> None:
    """Check that a checkpoint has a model's weights, by their names and shapes.

    Raises:
        InputError: they differ.
    """
    stored = {name: tensor.shape for name, tensor in weights.items()}
    needed = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if stored != needed:
        name = next(name for name in {**needed, **stored} if stored.get(name) != needed.get(name))
        raise InputError(
            f"{path}: not a checkpoint of this model: {name} is {_shape(stored.get(name))} there, "
            f"{_shape(needed.get(name))} in the model"
        )


def _shape(shape: torch.Size | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "a number"


def put_aside_damaged(run_dir: Path, good: Path) -> None:
    """Keep a corrupt ``last.ckpt`` from replacing the good one before it."""
    if good != run_dir / LAST and (run_dir / LAST).exists():
        rename(run_dir / LAST, run_dir / _DAMAGED, run_dir)
