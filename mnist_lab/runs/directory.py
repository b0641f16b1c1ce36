"""A run directory: its name, files, lock and metrics."""

import atexit
import contextlib
import functools
import json
import math
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mnist_lab.errors import (
    BusyError,
    ConfigError,
    InputError,
    StorageError,
    UntrustedError,
    first_line,
    reason,
)
from mnist_lab.files.atomic import write_atomic, write_errors
from mnist_lab.files.checkpoint_inspection import opened
from mnist_lab.files.regular import check_links, read_of_run

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
METRICS = "metrics.json"
LOCK = ".lock"
OFFLINE = "wandb/offline-run-*"  # W&B's folder, one of a run
PROGRESS = "progress.json"  # of a run that trains
SWEEP = "sweep.json"  # by which the directory of a sweep is known
LEDGER = "ledger"  # folder of a sweep for what its processes tell each other
JOBS = "jobs"  # and for what those of a launcher exchange and print
OUTPUTS = "outputs"  # folder that runs and sweeps are in, unless told otherwise
CHECKPOINTS = "checkpoints"
BEST = Path(CHECKPOINTS, "best.ckpt")
LAST = Path(CHECKPOINTS, "last.ckpt")
PREVIOUS = Path(CHECKPOINTS, "previous.ckpt")  # the last one before, in case the last is corrupt
_ALWAYS = ("epochs", "steps", "time/fit", "time/total")  # numbers of each finished run, never NaN
_MAX_JSON = 50_000_000  # bytes; the manifest of a run has 2,000, and more with each stop


@functools.cache
def is_rank_zero() -> bool:
    """Return whether this process leads those that train together, or trains alone.

    torchrun and Lightning's own launcher set ``WORLD_SIZE`` besides a rank, srun ``SLURM_NTASKS``;
    without them a rank is a leftover of another program. ``NODE_RANK`` is what a user sets who
    starts Lightning once on each machine. The answer stays that of the first call, since Lightning
    drops ``WORLD_SIZE`` at the end of a run.
    """
    ranks = ["NODE_RANK"]
    if _number("WORLD_SIZE") > 1:
        ranks += ["RANK", "LOCAL_RANK"]
    if _number("SLURM_NTASKS") > 1:
        ranks += ["SLURM_PROCID"]
    return not any(map(_number, ranks))


def has_launcher() -> bool:
    """Return whether a launcher has started this process as one of those that train together."""
    return ("LOCAL_RANK" in os.environ and _number("WORLD_SIZE") > 1) or (
        "SLURM_PROCID" in os.environ and _number("SLURM_NTASKS") > 1
    )


def _number(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else 0


def new_name(parent: str, name: str | None = None) -> str:
    """Return a path under ``parent`` that no other run has, even one started in the same second.

    A name that the user gave is its end. Only rank 0 writes a run directory. The other processes of
    torchrun or srun cannot know its name, so that theirs is among the temporary files, and is gone
    when they end.
    """
    unique = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}"
    if name is not None:
        unique += f"_{name}"
    if not is_rank_zero():
        path = os.path.join(tempfile.gettempdir(), f"mnist_lab_rank_{unique}")
        atexit.register(shutil.rmtree, path, ignore_errors=True)
        return path
    return os.path.join(parent, unique)


def display_path(run_dir: Path) -> Path:
    """Return a path as a user would type it here: relative where it is below this folder."""
    path = Path(os.path.relpath(run_dir))
    return run_dir if ".." in path.parts else path


@contextlib.contextmanager
def claimed(folder: Path, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a run's or a sweep's folder, for rank 0 to start or resume runs; others work beside it.

    ``check`` raises an error if the folder's content forbids it, before anything is written.

    Raises:
        BusyError: another process holds the folder; nothing was written.
        StorageError: the folder cannot be written.
        UntrustedError: a link leads out of it.
    """
    if not is_rank_zero():
        yield
        return
    check_links(folder)
    if not (folder / LOCK).exists():  # else who holds it comes first
        check()
    is_new = not folder.exists()
    with locked(folder):
        check()
        try:
            yield
        except (ConfigError, InputError, UntrustedError):
            if is_new and not (folder / CHECKPOINTS).exists():  # nothing was trained
                shutil.rmtree(folder, ignore_errors=True)
            raise


def locked(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Hold a folder for this process, which may hold it already.

    Raises:
        BusyError: another process holds it.
        StorageError: it cannot be written.
    """
    return hold(folder / LOCK, folder, is_reentrant=True)


@contextlib.contextmanager
def hold(
    path: Path, folder: Path, patience: float = 0.0, is_reentrant: bool = False
) -> Iterator[None]:
    """Hold a lock file.

    Args:
        path: the lock file.
        folder: the directory that it is about, for messages.
        patience: seconds to wait for another holder.
        is_reentrant: whether this process may hold it already.

    Raises:
        BusyError: another holder kept it for longer.
        StorageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Absolute, since before filelock 4 each spelling of a path was a lock of its own.
        lock = FileLock(path.absolute(), timeout=patience, is_singleton=is_reentrant)
        lock.acquire()
    except Timeout:
        raise BusyError(
            f"{display_path(folder)}: {_holder(folder)} is using this directory; wait for it or "
            "stop it"
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter: no locks in this file system
        raise StorageError(f"{display_path(folder)}: cannot be written: {reason(error)}") from error
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Return whether there is a lock file that any process holds."""
    if not path.exists():
        return False
    try:
        with hold(path, path.parent):
            return False
    except BusyError:
        return True


def _holder(folder: Path) -> str:
    """Return the process that holds a run's directory, as its manifest names it."""
    with contextlib.suppress(InputError, LookupError, TypeError):
        attempt = read_json(folder / MANIFEST)["attempts"][-1]
        return f"process {attempt['pid']} on {attempt['host']}"
    return "another process"


def place_of(folder: Path) -> tuple[int, int]:
    """Return what identifies a folder, whatever its name; two zeros where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def check_place(folder: Path, place: tuple[int, int]) -> None:
    """Check that a run's directory is the one that the run began in.

    Raises:
        StorageError: it was moved, deleted or replaced.
    """
    if place_of(folder) != place:
        raise StorageError(
            f"{display_path(folder)}: was moved or deleted while the run went on, which ends here; "
            "where it was moved, resume it with mnist-lab resume and its new path"
        )


def write(path: Path, text: str, root: Path | None = None) -> None:
    """Write a file of a run atomically; the caller holds the run's lock.

    ``root`` is the run's or sweep's directory, where the file is in a folder of it.

    Raises:
        StorageError: the file cannot be written.
        UntrustedError: a folder below ``root`` is a link.
    """
    with write_errors(path):
        write_atomic(path, text.encode(), root)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: the file is missing or corrupt.
    """
    text = read_of_run(path, _MAX_JSON)
    try:
        content = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON object is required")
    return content


def read_metrics(run_dir: Path) -> dict[str, float]:
    """Read the metrics of a finished run; null is NaN.

    Raises:
        InputError: they are missing or corrupt.
    """
    metrics = read_json(run_dir / METRICS)
    for name in _ALWAYS:
        metrics.setdefault(name, "missing")
    for name, value in metrics.items():
        if value is None and name not in _ALWAYS:
            metrics[name] = math.nan
        elif type(value) not in (int, float):
            raise InputError(f"{run_dir / METRICS}: {name}: must be a number")
    return metrics


def write_metrics(run_dir: Path, metrics: Mapping[str, float]) -> None:
    """Write a run's metrics, flat keys such as ``test/acc``; NaN and infinity are null."""
    content = json.dumps(finite(dict(sorted(metrics.items()))), indent=2, allow_nan=False)
    write(run_dir / METRICS, content + "\n")


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return metrics as JSON can hold them: NaN and infinity are None."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def check_is_run(path: Path) -> None:
    """Refuse a sweep's directory, or a checkpoint, where a run's directory is required.

    Raises:
        ConfigError: it is one of these.
    """
    is_run = any((path / name).is_file() for name in (MANIFEST, METRICS, CONFIG))
    if not is_run and (path / SWEEP).is_file():
        command = f"mnist-lab runs {shlex.quote(str(path))} --trials"
        raise ConfigError(f"{path}: is a sweep; {command} lists its runs")
    if path.suffix == Path(LAST).suffix and path.is_file():
        run_dir = path.absolute().parent.parent
        raise ConfigError(f"{path}: is a checkpoint; give its run's directory: {run_dir}")


def refuse_code(run_dir: Path) -> None:
    """Refuse a run with a checkpoint that names code, without importing torch.

    A checkpoint that is cut off or corrupt passes: it is refused where it is read.

    Raises:
        UntrustedError: there is such a checkpoint.
    """
    for name in (BEST, LAST, PREVIOUS):
        with contextlib.suppress(InputError), opened(run_dir / name, is_whole=False):
            pass


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
