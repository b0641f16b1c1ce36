"""Training and evaluation of finished objects: a model, a data module and a trainer."""

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.plugins import DoublePrecision, HalfPrecision
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import is_overridden

from mnist_lab.data import MNISTDataModule
from mnist_lab.files.checkpoint import read_checkpoint
from mnist_lab.runs import signals
from mnist_lab.runs.directory import BEST
from mnist_lab.training.checkpoints.callback import Checkpoint
from mnist_lab.training.checkpoints.newest import weights_of
from mnist_lab.training.checkpoints.plugin import AtomicCheckpointIO
from mnist_lab.training.epoch_loop import use_fast_loop
from mnist_lab.training.judged_weights import muted, weights_kept
from mnist_lab.training.library_errors import loading, settings_taken
from mnist_lab.training.lightning_internals import keep_signal_handlers
from mnist_lab.training.precision import resolve_precision
from mnist_lab.training.progress import Progress
from mnist_lab.training.shared_cores import gives_way
from mnist_lab.training.silenced_warnings import ignore_noise


def train(
    model: L.LightningModule,
    datamodule: L.LightningDataModule | None = None,
    trainer: L.Trainer | None = None,
    ckpt_path: str | Path | None = None,
    **trainer_options: Any,
) -> dict[str, float]:
    """Fit a model, then validate and test its best checkpoint, or its last where none is best.

    Args:
        model: the model; afterwards it holds the weights that were tested.
        datamodule: the data; None is ``MNISTDataModule()``.
        trainer: the trainer; None is one that keeps no files, made from the options.
        ckpt_path: the checkpoint to resume from, to the same bits if the trainer has the lab's
            ``Checkpoint`` callback and that callback saved it.
        trainer_options: arguments of ``lightning.Trainer``, such as ``max_epochs=3``; with
            ``enable_progress_bar=False`` nothing is shown.

    Returns:
        Flat metrics, ``val/acc``, ``test/loss`` and the like, with ``time/fit`` in seconds and the
        numbers of epochs and steps.

    Raises:
        InputError: the checkpoint is corrupt, or of another model or run.
        ValueError: both a trainer and options for one were given.
    """
    if trainer is not None and trainer_options:
        raise ValueError("give a trainer or options for one, not both")
    ignore_noise()
    trainer = trainer or default_trainer(model, **trainer_options)
    datamodule = datamodule if datamodule is not None else MNISTDataModule()
    use_fast_loop(trainer)
    checkpoint = own_checkpoint(trainer)
    if checkpoint and not isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO):
        trainer.strategy.checkpoint_io = AtomicCheckpointIO(Path(trainer.default_root_dir))
    start = time.perf_counter()
    _fit(trainer, model, datamodule, ckpt_path, checkpoint)
    seconds = time.perf_counter() - start + (checkpoint.seconds_before if checkpoint else 0.0)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    metrics = fit_metrics(model, trainer.current_epoch, trainer.global_step, seconds, logged)
    if trainer.barebones:
        return metrics
    load_best(model, trainer)
    return metrics | evaluate_on(trainer, model, datamodule)


def fit_metrics(
    model: L.LightningModule, epochs: int, steps: int, seconds: float, logged: Mapping[str, float]
) -> dict[str, float]:
    """Return the metrics of a run's training; of those logged in it what begins with ``train``."""
    return {
        "time/fit": seconds,
        "epochs": float(epochs),
        "steps": float(steps),
        "num_params": float(sum(parameter.numel() for parameter in model.parameters())),
        **{
            name: value
            for name, value in logged.items()
            if name.startswith("train") and not name.endswith("_step")
        },
    }


def own_checkpoint(trainer: L.Trainer) -> Checkpoint | None:
    """Return the trainer's callback that saves what a run is resumed from bit for bit."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, Checkpoint)), None)


def _fit(
    trainer: L.Trainer,
    model: L.LightningModule,
    datamodule: L.LightningDataModule,
    ckpt_path: str | Path | None,
    checkpoint: Checkpoint | None,
) -> None:
    """Fit, and end on a signal with its usual exit code, which Lightning's is not."""
    if isinstance(trainer.precision_plugin, DoublePrecision | HalfPrecision):
        # Lightning does this after a checkpoint is restored, which would round its weights.
        trainer.precision_plugin.convert_module(model)
    waits = wait_for_step(trainer) if checkpoint else contextlib.nullcontext()
    if checkpoint and ckpt_path:
        checkpoint.is_restored = False
    try:
        with settings_taken(), loading(ckpt_path, checkpoint), gives_way(), waits:
            trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)
    except SIGTERMException:
        raise SystemExit(143) from None
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise  # not Lightning's answer to Ctrl-C, which it ignores from then on
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None


@contextlib.contextmanager
def wait_for_step(trainer: L.Trainer) -> Iterator[None]:
    """Only note the first signal that is received within, and keep Lightning's own handlers out.

    Raises:
        Stopped: a signal was received after the last step.
    """
    with signals.until_next_step() as is_handled:
        if is_handled:
            keep_signal_handlers(trainer)
        yield


def default_trainer(model: L.LightningModule, **options: Any) -> L.Trainer:
    """Return a trainer on one device that keeps no files, where options do not say otherwise."""
    defaults: dict[str, Any] = {
        "accelerator": "auto",
        "devices": 1,
        "max_epochs": 6,
        "precision": "auto",
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    options = defaults | options
    options["precision"] = resolve_precision(options["precision"], model, options["accelerator"])
    callbacks = options.get("callbacks") or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    is_shown = options.get("enable_progress_bar", not options.get("barebones"))
    if is_shown and not any(isinstance(callback, ProgressBar) for callback in callbacks):
        callbacks = [Progress(), *callbacks]
    return L.Trainer(**options | {"callbacks": callbacks})


def load_best(model: L.LightningModule, trainer: L.Trainer) -> None:
    """Put the weights of the best checkpoint into the model, where the trainer kept one.

    Raises:
        InputError: it is corrupt.
    """
    if own_checkpoint(trainer):
        # Under torchrun a run without a name has one on rank 0 alone.
        path = Path(trainer.strategy.broadcast(str(Path(trainer.default_root_dir, BEST))))
    elif isinstance(other := trainer.checkpoint_callback, ModelCheckpoint) and (
        other.best_model_path
    ):
        path = Path(other.best_model_path)
    else:
        return
    model.load_state_dict(weights_of(read_checkpoint(path), model))


def evaluate_on(
    trainer: L.Trainer, model: L.LightningModule, datamodule: L.LightningDataModule
) -> dict[str, float]:
    """Return the metrics of validation and of test, where model and data have what each needs.

    Raises:
        ConfigError: Lightning does not take a setting.
    """
    metrics: dict[str, float] = {}
    with settings_taken(), weights_kept(trainer, model):
        if trainer.limit_val_batches and validates(model, datamodule):
            with muted(trainer):  # it is of the best checkpoint, and no point of a curve
                trainer.validate(model, datamodule=datamodule, verbose=False)
            logged = trainer.callback_metrics
            metrics |= {name: logged[name].item() for name in logged if name.startswith("val")}
        if tests(model, datamodule):
            metrics.update(*trainer.test(model, datamodule=datamodule, verbose=False))
    return metrics


def validates(model: L.LightningModule, datamodule: L.LightningDataModule) -> bool:
    """Return whether a model has a validation step, and the data module images for it."""
    has_images = getattr(datamodule, "val_size", 1) and is_overridden("val_dataloader", datamodule)
    return bool(has_images and is_overridden("validation_step", model))


def tests(model: L.LightningModule, datamodule: L.LightningDataModule) -> bool:
    """Return whether a model has a test step, and the data module images for it."""
    return is_overridden("test_dataloader", datamodule) and is_overridden("test_step", model)
