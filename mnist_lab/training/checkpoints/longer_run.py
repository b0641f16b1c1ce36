"""A run that goes further than it was begun for: more epochs or steps, from its last checkpoint.

Its directory becomes that of a stopped run of the new length, which any command then resumes. The
last checkpoint of a finished run is one of many where its number of epochs ended it, and nothing
else acted at the end. Otherwise the run trains again from the save before that, to the same bits.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.allowlist import is_the_labs
from mnist_lab.config.hydra_internals import to_yaml
from mnist_lab.config.lengths import LENGTHS, lengths_of, limits, set_lengths
from mnist_lab.config.saved import read_stored
from mnist_lab.errors import BusyError, ConfigError, InputError
from mnist_lab.files.atomic import remove, rename, write_errors
from mnist_lab.files.checkpoint import read_checkpoint, write_checkpoint
from mnist_lab.models.arguments import OVER_THE_RUN
from mnist_lab.runs import directory, manifest
from mnist_lab.runs.directory import display_path
from mnist_lab.runs.manifest import RunState
from mnist_lab.training.checkpoints.newest import check_resumable, newest
from mnist_lab.training.checkpoints.resume_state import KEY, Snapshot, further, read_snapshot

_log = logging.getLogger(__name__)
_OLD = Path(".checkpoints.old")
_PATIENCE = 60.0  # seconds in which rank 0 has changed the directory
_QUIET_AT_THE_END = ("EarlyStopping", "LearningRateMonitor", "ModelSummary", "RichModelSummary")


def go_further(config: DictConfig) -> None:
    """Make a run's directory one of the config's length, which was typed, where it has another.

    A kill within leaves the run of the old length, or that of the new.

    Raises:
        BusyError: another process holds the directory.
        ConfigError: the run has done more than that, or cannot be another's length.
        InputError: its files cannot be read.
    """
    run_dir, lengths = Path(config.run_dir), lengths_of(config)
    if not (run_dir / directory.MANIFEST).exists() or _stored(run_dir) == lengths:
        return
    if not directory.is_rank_zero():
        _wait(run_dir, lengths)
        return
    with directory.claimed(run_dir):
        before = _stored(run_dir)
        if before != lengths:
            _check_may(config)
            _change(config, before, lengths)


def _stored(run_dir: Path) -> dict[str, Any]:
    return lengths_of(read_stored(run_dir / directory.CONFIG))


def _wait(run_dir: Path, lengths: Mapping[str, Any]) -> None:
    """Wait for rank 0 to change the directory."""
    end = time.monotonic() + _PATIENCE
    while _stored(run_dir) != lengths:
        if time.monotonic() > end:
            raise BusyError(f"{display_path(run_dir)}: rank 0 has not taken it further")
        time.sleep(0.1)


def _check_may(config: DictConfig) -> None:
    """Refuse what another length does not continue."""
    run_dir = Path(config.run_dir)
    if (run_dir.parent / directory.SWEEP).exists():
        raise ConfigError(
            f"{display_path(run_dir)}: is a trial of a sweep, whose trials are of one length; "
            f"train its config in a directory of its own, with {' or '.join(LENGTHS)}"
        )
    if any(name.endswith("StochasticWeightAveraging") for name in _callbacks(config)):
        raise ConfigError(
            f"{display_path(run_dir)}: StochasticWeightAveraging averages over a share of the "
            "run's length, so that a longer run is another from there on; train it anew"
        )


def _callbacks(config: DictConfig) -> list[str]:
    nodes = [*(config.callbacks or {}).values(), *(config.trainer.callbacks or [])]
    return [str(node._target_) for node in nodes]


@dataclass(frozen=True)
class _Start:
    """What a run goes further from.

    Args:
        checkpoint: the content of a checkpoint; None where it trains from its start.
        ends: whether the run stays as it is, since what ended it ends a longer one too.
        step: optimizer steps that are kept.
        done: optimizer steps that were taken.
    """

    checkpoint: dict[str, Any] | None
    ends: bool = False
    step: int = 0
    done: int = 0


def _change(config: DictConfig, before: Mapping[str, Any], lengths: Mapping[str, Any]) -> None:
    """Turn a run's directory into one of another length: first its state, last its config."""
    run_dir = Path(config.run_dir)
    start = _start(config, before, lengths)
    if start.done and not start.step and config.get("init_from") is not None:
        raise ConfigError(
            f"{display_path(run_dir)}: would train again from its start, which init_from gives; "
            "train it anew, in a directory of its own"
        )
    is_exact = config.scheduler.get("name") not in OVER_THE_RUN or not start.step
    note = {"at": directory.now(), "step": start.step, "now": lengths, "is_exact": is_exact}
    entries = {"further": [*manifest.read_manifest(run_dir).get("further", []), note]}
    changed = [key for key in LENGTHS if lengths[key] != before[key]]
    _log.warning(
        "%s: goes further, %s: %s",
        display_path(run_dir),
        "; ".join(
            f"{key}={_shown(lengths[key])} instead of {_shown(before[key])}" for key in changed
        ),
        _told(config, start, is_exact),
    )
    if start.ends:
        manifest.update_manifest(run_dir, **entries)
    else:
        manifest.update_manifest(run_dir, **entries, state=RunState.INTERRUPTED)
        with write_errors(run_dir / directory.METRICS):
            remove(run_dir / directory.METRICS)
            _put(run_dir, start.checkpoint)
    stored = read_stored(run_dir / directory.CONFIG)
    set_lengths(stored, lengths)
    directory.write(run_dir / directory.CONFIG, to_yaml(OmegaConf.to_container(stored)))


def _put(run_dir: Path, checkpoint: dict[str, Any] | None) -> None:
    """Make a checkpoint the last one, or remove all."""
    if checkpoint is not None:
        write_checkpoint(run_dir / directory.LAST, checkpoint, root=run_dir)
    elif (run_dir / directory.CHECKPOINTS).exists():
        shutil.rmtree(run_dir / _OLD, ignore_errors=True)
        rename(run_dir / directory.CHECKPOINTS, run_dir / _OLD, run_dir)  # all at once
        shutil.rmtree(run_dir / _OLD, ignore_errors=True)


def _start(config: DictConfig, before: Mapping[str, Any], lengths: Mapping[str, Any]) -> _Start:
    """Return what a run goes further from."""
    run_dir = Path(config.run_dir)
    found = newest(run_dir)
    if found is None:
        return _Start(None)
    path, content = found
    last = read_snapshot(path, content)
    old, new = limits(before), limits(lengths)
    _check_longer(run_dir, last, lengths)
    if not last.is_finished:
        return _from(content, last)
    is_by_epochs, is_by_steps = last.epoch >= old[0], last.step >= old[1]
    still_ends = (is_by_epochs and last.epoch >= new[0]) or last.step >= new[1]
    is_by_length = (is_by_epochs or is_by_steps) and not _has_stopped(content, last)
    if still_ends or not is_by_length:
        return _Start(None, ends=True, step=last.step, done=last.step)
    if is_by_epochs and not is_by_steps and _is_quiet_at_the_end(config):
        return _from(content, last)
    every = config.trainer.get("check_val_every_n_epoch") or 1
    return _before_the_end(run_dir, content, last, is_by_steps or last.epoch % every != 0)


def _check_longer(run_dir: Path, last: Snapshot, lengths: Mapping[str, Any]) -> None:
    done = (last.epoch, last.step)
    for key, limit, count in zip(LENGTHS, limits(lengths), done, strict=True):
        if count > limit or (count == limit and not last.is_finished):
            what = key.rpartition("_")[2]
            raise ConfigError(
                f"{key}={lengths[key]}: must be more than the {count} {what} that "
                f"{display_path(run_dir)} has done"
            )


def _from(content: Mapping[str, Any], last: Snapshot, done: int | None = None) -> _Start:
    checkpoint = {**content, KEY: further(content[KEY])}
    return _Start(checkpoint, step=last.step, done=last.step if done is None else done)


def _is_quiet_at_the_end(config: DictConfig) -> bool:
    """Return whether the end of training changes nothing, so that its checkpoint is one of many."""
    targets = _callbacks(config)
    return (
        is_the_labs(config.model._target_)
        and is_the_labs(config.data._target_)
        and all(is_the_labs(name) or name.endswith(_QUIET_AT_THE_END) for name in targets)
    )


def _before_the_end(
    run_dir: Path, content: Mapping[str, Any], last: Snapshot, has_unseen: bool
) -> _Start:
    """Return the save before the last, from which the run comes again to where it ended.

    ``has_unseen`` says that the last steps were not validated within training.
    """
    path = run_dir / directory.PREVIOUS
    try:
        earlier = read_checkpoint(path)
        check_resumable(path, earlier)
    except InputError:
        return _Start(None, done=last.step)
    best, best_before = _best_step(content), _best_step(earlier)
    # Averaged weights are judged at the end, and took the place of what stays the best in between.
    is_lost = has_unseen and "averaging_state" in content and best != best_before
    snapshot = read_snapshot(path, earlier)
    if snapshot.is_finished or is_lost:
        return _Start(None, done=last.step)
    return _from(earlier, snapshot, done=last.step)


def _has_stopped(content: Mapping[str, Any], last: Snapshot) -> bool:
    """Return whether early stopping ended a run in the epoch that was its last one anyway."""
    return any(
        state["stopped_epoch"] == last.epoch - 1
        and (last.epoch > 1 or state["wait_count"] >= state["patience"])
        for state in content["callbacks"].values()
        if {"stopped_epoch", "wait_count", "patience"} <= state.keys()
    )


def _best_step(checkpoint: Mapping[str, Any]) -> int | None:
    states = checkpoint["callbacks"].values()
    step: int | None = next(state["best_step"] for state in states if "best_step" in state)
    return step


def _shown(length: int | None) -> str:
    return "null" if length is None else str(length)


def _told(config: DictConfig, start: _Start, is_exact: bool) -> str:
    """Return what becomes of the steps that were taken, and how far the run is a longer one."""
    schedule = config.scheduler.get("name")
    if start.ends:
        kept = f"what ended it at step {start.step} ends a longer run there too, and so it stays"
    elif start.step == start.done:
        kept = "its 1 step stays" if start.step == 1 else f"its {start.step} steps stay"
    else:
        kept = f"it trains again from step {start.step} of {start.done}, to the same bits"
    if not is_exact:
        return (
            f"{kept}, and from there on scheduler={schedule} is that of the new length, where a "
            "run that begins with it has other learning rates before"
        )
    if start.ends:
        return kept
    is_own = not is_the_labs(config.model._target_) or "_target_" in config.scheduler
    known = ", as far as your own code does not go by it" if is_own else ""
    return f"{kept}, and with the new ones it is a run of that length, bit for bit{known}"
