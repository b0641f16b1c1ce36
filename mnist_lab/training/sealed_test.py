"""Readings of the test images under ``protocol=sealed``: who may read them, and their count."""

import logging
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import LambdaCallback
from omegaconf import DictConfig

from mnist_lab.data import MNISTDataModule
from mnist_lab.errors import StorageError
from mnist_lab.files.checkpoint import sha256_of
from mnist_lab.runs.directory import claimed, display_path, is_rank_zero, now
from mnist_lab.runs.exclusive import sweep_of
from mnist_lab.runs.manifest import TEST_READINGS, is_sealed, read_manifest, update_manifest
from mnist_lab.training.observer import current_observer

_log = logging.getLogger(__name__)


def reads_test(config: DictConfig) -> bool:
    """Return whether a run reads the test images at its end: a sweep's sealed trial does not."""
    is_trial = current_observer() is not None or sweep_of(Path(config.run_dir).absolute())
    return not (is_sealed(config) and is_trial)


def counter_of(config: DictConfig, datamodule: L.LightningDataModule) -> list[L.Callback]:
    """Return the callback that counts the reading at the end of a sealed run; none for others."""
    if not is_sealed(config):
        return []

    def count(_: L.Trainer, model: L.LightningModule) -> None:
        count_reading(Path(config.run_dir), config, model, datamodule, "train")

    return [LambdaCallback(on_test_start=count)]


def count_reading(
    run_dir: Path,
    config: DictConfig,
    model: L.LightningModule,
    datamodule: L.LightningDataModule,
    by: str,
) -> None:
    """Record in a sealed run's manifest what is about to read its test images, such as ``predict``.

    It is recorded before the reading, so that one that is killed counts. Other images than those
    that the run was tested on are not its test images.

    Raises:
        BusyError: another process trains the run.
    """
    if not is_sealed(config) or not is_rank_zero():
        return
    try:
        with claimed(run_dir):
            manifest = read_manifest(run_dir)
            recorded = (manifest.get("data") or {}).get("test")
            if isinstance(datamodule, MNISTDataModule) and recorded not in (
                None,
                datamodule.split(train=False).sha256,
            ):
                return
            reading = {"at": now(), "by": by, "weights_sha256": sha256_of(model.state_dict())}
            readings = [*manifest.get(TEST_READINGS, []), reading]
            update_manifest(run_dir, **{TEST_READINGS: readings})
    except StorageError as error:
        _log.warning(
            "%s: this reading of the test images could not be counted: %s",
            display_path(run_dir),
            error,
        )
