"""A run goes on from another one's checkpoint, as in population-based training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mnist_lab.config.hydra_internals import to_yaml
from mnist_lab.config.saved import read_stored
from mnist_lab.errors import InputError
from mnist_lab.files.atomic import copy_atomic, remove, write_errors
from mnist_lab.files.checkpoint import write_checkpoint
from mnist_lab.runs import directory
from mnist_lab.runs.directory import BEST, LAST, PREVIOUS
from mnist_lab.runs.manifest import flat, update_manifest
from mnist_lab.training.checkpoints.newest import newest
from mnist_lab.training.checkpoints.resume_state import KEY, Snapshot, read_snapshot


def measured_at(run_dir: Path) -> tuple[int, float] | None:
    """Return the epochs and the monitored value of a run that was saved between two epochs.

    None is a run that was not, or that has not measured it.

    Raises:
        LabError: its files cannot be read.
    """
    saved = newest(run_dir)
    if saved is None:
        return None
    snapshot = read_snapshot(*saved)
    value = snapshot.metrics.get(str(read_stored(run_dir / directory.CONFIG).get("monitor")))
    if value is None or snapshot.batch or snapshot.is_finished or not snapshot.epoch:
        return None
    return snapshot.epoch, value.item()


def inherit(
    run_dir: Path, source: Path, epoch: int, settings: Mapping[str, Any], **entries: Any
) -> None:
    """Have a run go on as another one, with other settings; both wait at the start of an epoch.

    It keeps its own logs. Where a kill has ended this, it can be done again. The epoch is numbered
    from 0, settings have dotted keys, and entries are those of the run's manifest.

    Raises:
        BusyError: another process holds the directory.
        InputError: one of the runs has no good checkpoint of that place.
        StorageError: the directory cannot be written.
    """
    with directory.claimed(run_dir), write_errors(run_dir):
        content, snapshot = _waiting(source, epoch)
        _, own = _waiting(run_dir, epoch)
        if not snapshot.is_best and (source / BEST).exists():  # else made of the last one
            copy_atomic(source / BEST, run_dir / BEST, run_dir)
        content[KEY] = {**content[KEY], "logs": own.logs}
        write_checkpoint(run_dir / LAST, content, root=run_dir)
        remove(run_dir / PREVIOUS, run_dir)
        stored = read_stored(run_dir / directory.CONFIG)
        for key, value in settings.items():
            OmegaConf.update(stored, key, value, merge=False)
        plain: Any = OmegaConf.to_container(stored)
        directory.write(run_dir / directory.CONFIG, to_yaml(plain))
        update_manifest(run_dir, config=flat(plain), **entries)


def _waiting(run_dir: Path, epoch: int) -> tuple[dict[str, Any], Snapshot]:
    """Return the checkpoint of a run that waits, and the snapshot in it."""
    saved = newest(run_dir)
    if saved is not None:
        path, content = saved
        snapshot = read_snapshot(path, content)
        if (snapshot.epoch, snapshot.batch) == (epoch, 0):
            return content, snapshot
    raise InputError(
        f"{run_dir / LAST}: must be a checkpoint of the end of epoch {epoch}, at which the run "
        "waits; put it back, or choose another hydra.sweep.dir"
    )
