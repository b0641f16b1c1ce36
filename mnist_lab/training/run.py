"""One run from config to result: builds the objects, trains, and leaves a run directory."""

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.saved import portable
from mnist_lab.data import MNISTDataModule
from mnist_lab.errors import Stopped
from mnist_lab.files.atomic import remove_partials, storage_errors
from mnist_lab.models import Classifier
from mnist_lab.runs import directory, manifest, signals
from mnist_lab.runs.directory import display_path
from mnist_lab.runs.summary import print_result
from mnist_lab.training import resume_state
from mnist_lab.training.checkpoints import (
    LAST,
    PREVIOUS,
    newest,
    put_aside_damaged,
    read_checkpoint,
    sha256_of,
)
from mnist_lab.training.fit import own_checkpoint, settings_taken, train
from mnist_lab.training.hparams import log_best, log_config
from mnist_lab.training.observer import current_observer
from mnist_lab.training.trainer import build_model, build_trainer, machine

_log = logging.getLogger(__name__)
_MACHINE = ("precision", "device", "world_size", "threads", "mkl_cbwr")


def run(config: DictConfig) -> float | None:
    """Train as the config says, leave a run directory, and return the monitored value.

    Where the directory holds the run already it goes on, or is left alone if it is finished.

    Raises:
        InputError: the run's checkpoints are damaged, or of another run.
        Stopped: a signal has ended the run, which can go on.
        StorageError: something cannot be written.
        UntrustedError: a checkpoint names code.
    """
    run_dir = Path(config.run_dir)
    if manifest.is_finished(run_dir):
        _log.info("%s: finished already", display_path(run_dir))
        metrics = directory.read_metrics(run_dir)
    else:
        metrics = train_in(run_dir, config)
    if directory.is_rank_zero() and current_observer() is None:  # a sweep has a table of all
        print_result(run_dir, metrics)
        if lost := [name for name in metrics if not math.isfinite(metrics[name])]:
            _log.warning("%s: has diverged: %s: no number", display_path(run_dir), ", ".join(lost))
    return metrics.get(config.monitor)


def train_in(run_dir: Path, config: DictConfig) -> dict[str, float]:
    """Train in a directory, from where it was broken off if it was, and return the metrics.

    Raises:
        BusyError: another process holds the directory.
        LabError: as ``run`` does.
        Stopped: a signal has ended the run.
    """
    start = time.perf_counter()
    with signals.signals_end_run(), storage_errors(run_dir), directory.claimed(run_dir):
        path, state = _found(run_dir, config)
        environment = manifest.environment()
        with _recorded(run_dir, config, environment, state):
            L.seed_everything(config.seed, workers=True, verbose=False)
            with settings_taken():
                datamodule = instantiate(config.data, _convert_="all")
                model = build_model(config)
            validates = getattr(datamodule, "val_size", 1) > 0
            observer = current_observer()
            callbacks = observer.callbacks(config.monitor) if observer else []
            trainer = build_trainer(
                config, model, validates, callbacks=callbacks, is_quiet=observer is not None
            )
            if trainer.is_global_zero:
                _note_machine(run_dir, environment | machine(trainer), is_new=state is None)
                resume_state.rewind(trainer.loggers, state)
                if state is None:
                    _log_config(trainer, config)
            metrics = train(model, datamodule, trainer, ckpt_path=path)
            if trainer.is_global_zero:
                checkpoint = own_checkpoint(trainer)
                before = checkpoint.seconds_before if checkpoint else 0.0
                metrics["time/total"] = time.perf_counter() - start + before
                log_best(trainer, metrics)
                directory.write_metrics(run_dir, metrics)
                sha256 = hashes(run_dir, model)
                manifest.update_manifest(run_dir, data=_data_sha256(datamodule), sha256=sha256)
                resume_state.drop_kept(trainer.loggers)
    return metrics


def _found(run_dir: Path, config: DictConfig) -> tuple[Path | None, dict[str, Any] | None]:
    """Return the checkpoint that a run goes on from and its snapshot; None for a new run."""
    is_known = (run_dir / directory.MANIFEST).exists()
    found = newest(run_dir, _skeleton(config)) if is_known else None
    if found is None:
        if is_known and directory.is_rank_zero():
            _log.info(
                "%s: stopped before its first checkpoint; starts again", display_path(run_dir)
            )
        return None, None
    path, checkpoint = found
    state = checkpoint[resume_state.KEY]
    if directory.is_rank_zero():
        put_aside_damaged(run_dir, path)
        _log.info("%s: goes on from step %s", display_path(run_dir), state["step"])
    return path if path.exists() else run_dir / PREVIOUS, state


def _skeleton(config: DictConfig) -> Classifier:
    """Return the run's model without memory for its weights, which a checkpoint has to fit."""
    with torch.device("meta"):
        model: Classifier = build_model(config)
    return model


@contextlib.contextmanager
def _recorded(
    run_dir: Path, config: DictConfig, environment: dict[str, Any], state: dict[str, Any] | None
) -> Iterator[None]:
    """Keep a run's config and what becomes of it; the rank that leads does."""
    if not directory.is_rank_zero():
        yield
        return
    if not (run_dir / directory.MANIFEST).exists():
        directory.write(run_dir / directory.CONFIG, portable(config))
    for folder in (run_dir, run_dir / directory.CHECKPOINTS):
        remove_partials(folder)
    with manifest.attempt(run_dir, environment, state["step"] if state else 0):
        try:
            yield
        except Stopped as stopped:
            if stopped.name == "SIGUSR1":
                signals.requeue()
            _log.warning("mnist-lab resume %s goes on from here", display_path(run_dir))
            raise


def _note_machine(run_dir: Path, now: dict[str, Any], is_new: bool) -> None:
    """Note what the figures depend on; say what is not as it was when the run started."""
    if is_new:
        manifest.update_manifest(run_dir, **{name: now[name] for name in _MACHINE})
    elif found := manifest.differences(manifest.read_manifest(run_dir), now):
        _log.warning(
            "%s: started with %s: the run goes on, but not to the same bits as if it had not been "
            "stopped",
            display_path(run_dir),
            "; ".join(found),
        )


def hashes(run_dir: Path, model: Classifier) -> dict[str, str]:
    """Return hashes of the weights that were tested, of the last ones and the optimizer's state."""
    found = {"model": sha256_of(model.state_dict())}
    if (run_dir / LAST).exists():
        last = read_checkpoint(run_dir / LAST)
        found["last"] = sha256_of(last["state_dict"])
        found["optimizer"] = sha256_of(last["optimizer_states"])
    return found


def _data_sha256(datamodule: Any) -> dict[str, str] | None:
    if not isinstance(datamodule, MNISTDataModule):
        return None
    return {name: datamodule.split(name == "train").sha256 for name in ("train", "test")}


def _log_config(trainer: L.Trainer, config: DictConfig) -> None:
    settings = OmegaConf.to_container(config, resolve=True)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            log_config(logger, cast(dict[str, Any], settings), portable(config))
