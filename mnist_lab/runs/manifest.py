"""manifest.json: a run's attempts, state, hashes and environment."""

import contextlib
import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mnist_lab.errors import InputError, Paused, Pruned, StorageError
from mnist_lab.runs.directory import MANIFEST, now, read_json, write

SEEDS = ("seed", "data.seed")  # keys of a config in which repetitions of a run differ
TEST_READINGS = "test_readings"  # of a run with protocol=sealed, which counts them
TORCH_FUNC = "torch.func"  # the "stack" of a trial whose stack gives its results up to rounding
CLASS_NAMES = "class_names"  # of the data, where they are no numbers
_COMPARED = ("device", "threads", "world_size", "precision", "versions", "git")
_PACKAGES = ("mnist_lab", "torch", "lightning", "torchmetrics", "hydra-core", "numpy")


class RunState(StrEnum):
    """The state of a run, or of a sweep's trial."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    PRUNED = "pruned"
    FAILED = "failed"


def is_sealed(config: Mapping[Any, Any]) -> bool:
    """Return whether a config's readings of the test images are counted."""
    return config.get("protocol") == "sealed"


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """Read a run's manifest.

    Raises:
        InputError: it is missing or corrupt.
    """
    manifest = read_json(run_dir / MANIFEST)
    for name in ("attempts", "further", TEST_READINGS):
        entries = manifest.get(name, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{run_dir / MANIFEST}: {name}: must be a list of mappings")
    for name in ("config", "data", "git", "init_from", "sha256", "versions"):
        if not isinstance(manifest.get(name) or {}, dict):
            raise InputError(f"{run_dir / MANIFEST}: {name}: must be a mapping")
    return manifest


def update_manifest(run_dir: Path, **entries: Any) -> None:
    """Add entries to a run's manifest, or replace them."""
    path = run_dir / MANIFEST
    manifest = read_json(path) if path.exists() else {}
    write(path, json.dumps(manifest | entries, indent=2, default=str) + "\n")


def is_finished(run_dir: Path) -> bool:
    """Return whether a run has its result."""
    is_run = (run_dir / MANIFEST).exists()
    return is_run and read_manifest(run_dir).get("state") == RunState.FINISHED


@contextlib.contextmanager
def attempt(run_dir: Path, environment: Mapping[str, Any], from_step: int) -> Iterator[None]:
    """Record in the manifest that this process works on a run, and how that ends."""
    manifest = read_manifest(run_dir) if (run_dir / MANIFEST).exists() else {}
    this = {
        "started": now(),
        "from_step": from_step,
        "pid": os.getpid(),
        "host": socket.gethostname(),
    }
    attempts = [*manifest.get("attempts", []), this]
    update_manifest(
        run_dir,
        **(environment if len(attempts) == 1 else {}),
        started=manifest.get("started", now()),
        state=RunState.RUNNING,
        attempts=attempts,
    )
    state, error = RunState.FAILED, None
    try:
        yield
        state = RunState.FINISHED
    except (KeyboardInterrupt, SystemExit, Paused):
        state = RunState.INTERRUPTED
        raise
    except Pruned as pruned:
        state, error = RunState.PRUNED, str(pruned)
        raise
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
        raise
    finally:
        this |= {"ended": now(), "state": state, "error": error}
        # Where a full disk ended the run, that error is shown and not that of this write.
        ignored = () if state == RunState.FINISHED else (StorageError,)
        with contextlib.suppress(*ignored):
            update_manifest(run_dir, state=state, ended=now(), error=error, attempts=attempts)


def environment() -> dict[str, Any]:
    """Return what a run's figures depend on besides its config: code, versions and machine."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "command": sys.argv,
        "git": git_state(),
        "versions": versions,
        "platform": platform.platform(),
    }


def git_state() -> dict[str, str | None] | None:
    """Return the commit and a hash of the changes since, where the code is a git checkout."""
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


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the environment settings that changed since the run started."""
    old = flat({name: before[name] for name in _COMPARED if name in before})
    new = flat({name: after[name] for name in _COMPARED if name in after})
    return [
        f"{key} {old[key]}, now {new[key]}" for key in old if old[key] != new.get(key, old[key])
    ]


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping's values by dotted keys; an empty mapping is a value."""
    values: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = value
    return values
