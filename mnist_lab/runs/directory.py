"""A run directory: its name, lock, atomic writes, manifest and metrics."""

import atexit
import contextlib
import functools
import hashlib
import json
import math
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mnist_lab.errors import BusyError, ConfigError, InputError, StorageError, first_line, reason
from mnist_lab.files.atomic import write_atomic

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
METRICS = "metrics.json"
LOCK = ".lock"
CHECKPOINTS = "checkpoints"
_SPLITS = ("train", "val", "test")  # whose metrics may be no numbers, of a run that diverged
_MAX_JSON = 50_000_000  # bytes; the manifest of a run has 2,000, and more with each stop
_PACKAGES = ("mnist_lab", "torch", "lightning", "torchmetrics", "hydra-core", "numpy")


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


def new_name(parent: str) -> str:
    """Return a path under ``parent`` that no other run has, even one started in the same second.

    Only rank 0 writes a run directory. The other processes of torchrun or srun cannot know its
    name, so that theirs is among the temporary files, and is gone when they end.
    """
    unique = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}"
    if not is_rank_zero():
        path = os.path.join(tempfile.gettempdir(), f"mnist_lab_rank_{unique}")
        atexit.register(shutil.rmtree, path, ignore_errors=True)
        return path
    return os.path.join(parent, unique)


@contextlib.contextmanager
def claimed(folder: Path, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a folder in which rank 0 makes runs or goes on with them; other ranks work beside it.

    Args:
        folder: a run's directory or a sweep's.
        check: raises what speaks against what lies in the folder, before anything is written.

    Raises:
        BusyError: another process holds the folder; nothing was written.
        StorageError: the folder cannot be written.
    """
    if not is_rank_zero():
        yield
        return
    if not (folder / LOCK).exists():  # else who holds it comes first
        check()
    is_new = not folder.exists()
    with locked(folder):
        check()
        try:
            yield
        except ConfigError:
            if is_new and not (folder / CHECKPOINTS).exists():  # nothing was trained
                shutil.rmtree(folder, ignore_errors=True)
            raise


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, which may hold it already.

    Raises:
        BusyError: another process holds it.
        StorageError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0, is_singleton=True)
        lock.acquire()
    except Timeout:
        raise BusyError(
            f"{folder}: {_holder(folder)} is using this directory; wait for it or stop it"
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter: no locks in this file system
        raise StorageError(f"{folder}: cannot be written: {reason(error)}") from error
    try:
        yield
    finally:
        lock.release()


def _holder(folder: Path) -> str:
    """Return the name of the process that holds a folder, as far as it has left one."""
    with contextlib.suppress(InputError, LookupError, TypeError):
        attempt = read_json(folder / MANIFEST)["attempts"][-1]
        return f"process {attempt['pid']} on {attempt['host']}"
    return "another process"


def write(path: Path, text: str) -> None:
    """Write a file of a run whole or not at all; the caller holds the run's lock.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {reason(error)}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise InputError(f"{path}: cannot be read: it is no file")
        with open(path, "rb") as file:
            text = file.read(_MAX_JSON + 1)
        if len(text) > _MAX_JSON:
            raise InputError(f"{path}: too large, {_MAX_JSON:,} bytes at most")
        content = json.loads(text.decode())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; is {path.parent} a run's directory?") from None
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON object is required")
    return content


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """Read a run's manifest.

    Raises:
        InputError: it is missing or damaged.
    """
    manifest = read_json(run_dir / MANIFEST)
    attempts = manifest.get("attempts", [])
    if not isinstance(attempts, list) or not all(isinstance(one, dict) for one in attempts):
        raise InputError(f"{run_dir / MANIFEST}: attempts: must be a list of mappings")
    for name in ("data", "sha256", "versions"):
        if not isinstance(manifest.get(name) or {}, dict):
            raise InputError(f"{run_dir / MANIFEST}: {name}: must be a mapping")
    return manifest


def read_metrics(run_dir: Path) -> dict[str, float]:
    """Read the metrics of a finished run, NaN where there is no number.

    Raises:
        InputError: they are missing or damaged.
    """
    metrics = {
        name: math.nan if value is None and name.partition("/")[0] in _SPLITS else value
        for name, value in read_json(run_dir / METRICS).items()
    }
    for name in {"epochs", "steps", "time/fit", "time/total", *metrics}:
        if type(metrics.get(name)) not in (int, float):
            raise InputError(f"{run_dir / METRICS}: {name}: must be a number")
    return metrics


def write_metrics(run_dir: Path, metrics: Mapping[str, float]) -> None:
    """Write a run's metrics, flat keys such as ``test/acc``; null is what is not a number."""
    content = json.dumps(finite(dict(sorted(metrics.items()))), indent=2, allow_nan=False)
    write(run_dir / METRICS, content + "\n")


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return metrics as JSON can hold them: what is not a number is None."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def update_manifest(run_dir: Path, **entries: Any) -> None:
    """Add entries to a run's manifest, or replace them."""
    path = run_dir / MANIFEST
    manifest = read_json(path) if path.exists() else {}
    write(path, json.dumps(manifest | entries, indent=2, default=str) + "\n")


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Return what a run's figures depend on besides its config: code, versions and machine."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "command": sys.argv,
        "git": _git_state(),
        "versions": versions,
        "platform": platform.platform(),
    }


def _git_state() -> dict[str, str | None] | None:
    """Return the commit and a hash of what differs from it, where the code is a git checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> bytes:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, check=True, timeout=10
        ).stdout

    try:
        commit = git("rev-parse", "HEAD").decode().strip()
        diff = git("diff", "HEAD", "--", "mnist_lab", "conf")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "diff_sha256": hashlib.sha256(diff).hexdigest() if diff else None}
