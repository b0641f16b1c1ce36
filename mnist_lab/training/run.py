"""One run from config to result: begins or resumes its directory, builds the objects and trains."""

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import DictConfig

from mnist_lab.config.hydra_internals import build, to_yaml
from mnist_lab.config.saved import portable, portable_values
from mnist_lab.data import MNISTDataModule
from mnist_lab.data.sets import class_names_of
from mnist_lab.errors import InputError, Stopped
from mnist_lab.files.atomic import remove_partials, storage_errors
from mnist_lab.files.checkpoint import read_checkpoint, sha256_of
from mnist_lab.models import Classifier
from mnist_lab.runs import directory, manifest, signals
from mnist_lab.runs.directory import BEST, LAST, PREVIOUS, display_path
from mnist_lab.runs.labels import labels_given
from mnist_lab.training.checkpoints.newest import newest, put_aside_damaged
from mnist_lab.training.checkpoints.resume_state import Snapshot, read_snapshot
from mnist_lab.training.data_dimensions import follow_data, follow_run
from mnist_lab.training.fine_tuning import load_initial
from mnist_lab.training.fit import own_checkpoint, train
from mnist_lab.training.library_errors import settings_taken
from mnist_lab.training.loggers.hparams import log_best, log_config, settings_of
from mnist_lab.training.loggers.resume_logs import claim_folders, close_logs, rewind
from mnist_lab.training.loggers.tracker import Tracker
from mnist_lab.training.observer import current_observer
from mnist_lab.training.progress_file import Heartbeat
from mnist_lab.training.sealed_test import counter_of, reads_test
from mnist_lab.training.threads import threads_of
from mnist_lab.training.trainer import build_model, build_trainer, machine

_log = logging.getLogger(__name__)
_MACHINE = ("precision", "device", "world_size", "threads", "mkl_cbwr", "openmp_waits")
_PARENT = "MNIST_LAB_LEADER"  # number of the process that starts the ranks


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Args:
        run_dir: the run's directory.
        metrics: flat, such as ``test/acc``.
        value: the monitored metric; None where it was not measured.
    """

    run_dir: Path
    metrics: dict[str, float]
    value: float | None

    @property
    def diverged(self) -> list[str]:
        """Names of the metrics that are NaN or infinite."""
        return [name for name, value in self.metrics.items() if not math.isfinite(value)]


def run(config: DictConfig) -> Result:
    """Train as the config says, leave a run directory, and return the result.

    A run that the directory holds already is resumed, or left alone if it is finished.

    Raises:
        InputError: the run's checkpoints are corrupt, or of another run.
        Stopped: a signal ended the run, which can be resumed.
        StorageError: something cannot be written.
        UntrustedError: a checkpoint names code.
    """
    run_dir = Path(config.run_dir)
    if manifest.is_finished(run_dir):
        _log.info("%s: finished already", display_path(run_dir))
        metrics = directory.read_metrics(run_dir)
    else:
        metrics = train_in(run_dir, config)
    return Result(run_dir, metrics, metrics.get(config.monitor))


def train_in(run_dir: Path, config: DictConfig) -> dict[str, float]:
    """Train in a directory, from its newest checkpoint if there is one, and return the metrics.

    Raises:
        BusyError: another process holds the directory.
        LabError: as ``run`` does.
        Stopped: a signal ended the run.
    """
    start = time.perf_counter()
    with signals.signals_end_run(), storage_errors(run_dir), directory.claimed(run_dir):
        place = directory.place_of(run_dir)
        config = follow_run(config, run_dir)
        path, snapshot = _resumed_from(run_dir, config)
        environment = manifest.environment()
        from_step = snapshot.step if snapshot else 0
        recorded = _recorded(run_dir, config, environment, from_step)
        with _tied_ranks(), threads_of(config), recorded:
            L.seed_everything(config.seed, workers=True, verbose=False)
            with settings_taken():
                datamodule = build(config.data)
                followed = follow_data(config, datamodule)
                model = build_model(followed)
            source = None
            if path is None and config.get("init_from") is not None:
                source = load_initial(model, Path(config.init_from))
            if followed is not config and directory.is_rank_zero():
                config = followed
                directory.write(run_dir / directory.CONFIG, portable(config))
            trainer = _build_trainer(config, model, datamodule)
            if path is not None and own_checkpoint(trainer) is None:
                raise InputError(
                    f"{path}: its run's config has no callback that saves and reads it"
                )
            if trainer.is_global_zero:
                note_machine(run_dir, environment | machine(trainer), is_new=snapshot is None)
                _note_data(run_dir, datamodule)
                if source is not None:
                    manifest.update_manifest(run_dir, init_from=source)
                begin_logs(config, trainer.loggers, snapshot)
            with contextlib.ExitStack() as stack:
                stack.callback(close_logs, trainer.loggers)
                metrics = train(model, datamodule, trainer, ckpt_path=path)
                if trainer.is_global_zero:
                    directory.check_place(run_dir, place)
                    checkpoint = own_checkpoint(trainer)
                    before = checkpoint.seconds_before if checkpoint else 0.0
                    metrics["time/total"] = time.perf_counter() - start + before
                    finish_run(run_dir, metrics, model, datamodule, trainer.loggers)
    return metrics


@contextlib.contextmanager
def _tied_ranks() -> Iterator[None]:
    """Have the ranks that Lightning starts of this process within end with it."""
    before, own = os.environ.get(_PARENT, ""), str(os.getpid())
    if directory.has_launcher() and before.isdecimal() and before != own:
        leader = int(before)
        signals.end_when(lambda: os.getppid() != leader)
        yield
        return
    os.environ[_PARENT] = own
    try:
        yield
    finally:
        os.environ.pop(_PARENT, None)  # what this process starts later has a parent of its own


def _build_trainer(config: DictConfig, model: Classifier, datamodule: Any) -> L.Trainer:
    observer = current_observer()
    followers = observer.callbacks(config.monitor) if observer else []
    return build_trainer(
        config,
        model,
        validates=getattr(datamodule, "val_size", 1) != 0,
        callbacks=[*followers, *counter_of(config, datamodule), Heartbeat()],
        is_quiet=observer is not None,
        tests=reads_test(config),
    )


def begin_logs(config: DictConfig, loggers: list[Logger], snapshot: Snapshot | None) -> None:
    """Cut log files back to a snapshot; log the config of a new run; begin it in trackers.

    Raises:
        ConfigError: a log folder is another run's.
    """
    claim_folders(loggers, Path(config.run_dir), snapshot.logs if snapshot else None)
    if snapshot is not None:
        rewind(loggers, snapshot.logs, snapshot.step)
    else:
        rewind(loggers)
    if snapshot is None or snapshot.goes_further:
        log_config(loggers, config, reads_test(config))
    for place, logger in enumerate(loggers):
        if isinstance(logger, Tracker):
            logger.begin(settings_of(config), snapshot.logs[place] if snapshot else None)


def finish_run(
    run_dir: Path,
    metrics: Mapping[str, float],
    model: Classifier,
    datamodule: L.LightningDataModule,
    loggers: Iterable[Logger],
    last: Mapping[str, Any] | None = None,
) -> None:
    """Write the result of a run, and hashes of its data and of the weights that were tested.

    ``last`` has weights and optimizer states of the last checkpoint; None reads them.
    """
    if last is None and (run_dir / LAST).exists():
        last = read_checkpoint(run_dir / LAST)
    data = _data_record(datamodule)
    tested = model.state_dict()
    if is_overridden("on_save_checkpoint", model) and (run_dir / BEST).exists():
        tested = read_checkpoint(run_dir / BEST)["state_dict"]  # perhaps by other names
    hashes = {"model": sha256_of(tested)}
    if last is not None:
        hashes["last"] = sha256_of(last["state_dict"])
        hashes["optimizer"] = sha256_of(last["optimizer_states"])
    log_best(loggers, metrics)
    directory.write_metrics(run_dir, metrics)
    manifest.update_manifest(run_dir, **data, sha256=hashes)
    close_logs(loggers, is_finished=True)


def _resumed_from(run_dir: Path, config: DictConfig) -> tuple[Path | None, Snapshot | None]:
    """Return the checkpoint to resume from and its snapshot; None for a new run."""
    if not (run_dir / directory.MANIFEST).exists():
        return None, None
    with settings_taken(), torch.device("meta"):  # takes no memory for weights
        model = build_model(config)
    checkpoint = newest(run_dir, model)
    if checkpoint is None:
        if directory.is_rank_zero():
            shown = display_path(run_dir)
            _log.info("%s: stopped before its first checkpoint; starts again", shown)
        return None, None
    path, content = checkpoint
    snapshot = read_snapshot(path, content)
    if directory.is_rank_zero():
        put_aside_damaged(run_dir, path)
        _log.info("%s: resumes from step %s", display_path(run_dir), snapshot.step)
    return path if path.exists() else run_dir / PREVIOUS, snapshot


@contextlib.contextmanager
def _recorded(
    run_dir: Path, config: DictConfig, environment: Mapping[str, Any], from_step: int
) -> Iterator[None]:
    """Record a run's config and how this attempt ends; rank 0 does."""
    if not directory.is_rank_zero():
        yield
        return
    with recorded(run_dir, config, environment, from_step), signals.requeues():
        try:
            yield
        except Stopped:
            _log.warning("to resume the run from here: mnist-lab resume %s", display_path(run_dir))
            raise


@contextlib.contextmanager
def recorded(
    run_dir: Path, config: DictConfig, environment: Mapping[str, Any], from_step: int = 0
) -> Iterator[None]:
    """Record a run's config and how this attempt ends; this process holds the directory."""
    if not (run_dir / directory.MANIFEST).exists():
        values = portable_values(config)
        directory.write(run_dir / directory.CONFIG, to_yaml(values))
        began = {"config": manifest.flat(values)}
        environment = {**environment, **began, **labels_given(config.tags, config.note)}
    for folder in (run_dir, run_dir / directory.CHECKPOINTS):
        remove_partials(folder, run_dir)
    with manifest.attempt(run_dir, environment, from_step):
        yield


def note_machine(run_dir: Path, now: Mapping[str, Any], is_new: bool) -> None:
    """Record what the figures depend on; warn of what has changed since the run started."""
    if is_new:
        manifest.update_manifest(run_dir, **{name: now[name] for name in _MACHINE})
    elif changes := manifest.differences(manifest.read_manifest(run_dir), now):
        _log.warning(
            "%s: started with %s: the run is resumed, but not to the same bits as if it had not "
            "been stopped",
            display_path(run_dir),
            "; ".join(changes),
        )


def _note_data(run_dir: Path, datamodule: L.LightningDataModule) -> None:
    """Record what a run is trained on, and refuse to resume it on something else."""
    record = _data_record(datamodule)
    before = manifest.read_manifest(run_dir).get("data")
    if before and record["data"] and before != record["data"]:
        raise InputError(
            f"{run_dir}: was started on data of other content; give the command that started it "
            "again, with data.root=<the folder that has them>"
        )
    manifest.update_manifest(run_dir, **record)


def _data_record(datamodule: L.LightningDataModule) -> dict[str, Any]:
    """Return hashes of the training and the test data, and the names of their classes.

    There are no hashes of a user's own data module, and no names where they are the numbers.
    """
    record: dict[str, Any] = {"data": None}
    if isinstance(datamodule, MNISTDataModule):
        parts = {"train": datamodule.split(train=True), "test": datamodule.split(train=False)}
        record["data"] = {name: part.sha256 for name, part in parts.items()}
    if names := class_names_of(datamodule):
        record[manifest.CLASS_NAMES] = list(names)
    return record
