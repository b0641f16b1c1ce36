"""What a run's manifest says of its attempts, and what differs between two of them."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.saved import read_stored
from mnist_lab.config.schema import Pictures
from mnist_lab.errors import ConfigError, StorageError
from mnist_lab.runs import directory
from mnist_lab.sweeps.trial import Pruned

FINISHED = "finished"
# How a run is computed and shown, which may be chosen anew when it goes on.
MAY_DIFFER = (
    "allow_targets",
    "run_dir",
    "data.root",
    "callbacks.checkpoint.every_n_seconds",
    "callbacks.checkpoint.every_n_steps",
    *(f"callbacks.pictures.{knob.name}" for knob in fields(Pictures)),
    *(
        f"trainer.{name}"
        for name in (
            "accelerator",
            "default_root_dir",
            "devices",
            "enable_model_summary",
            "enable_progress_bar",
            "num_nodes",
            "profiler",
            "strategy",
        )
    ),
)
_COMPARED = ("device", "threads", "world_size", "precision", "versions", "git")


def portable(config: DictConfig) -> str:
    """Return a resolved config as YAML, with the run's place as a dot: a run can be moved."""
    return OmegaConf.to_yaml(config, resolve=True).replace(str(config.run_dir), ".")


def is_finished(run_dir: Path) -> bool:
    """Return whether a run has its result."""
    is_there = (run_dir / directory.MANIFEST).exists()
    return is_there and directory.read_manifest(run_dir).get("state") == FINISHED


def check_same_config(run_dir: Path, config: DictConfig) -> None:
    """Check that a directory is free, or holds a run of this very config, which can go on.

    Args:
        run_dir: the directory.
        config: a resolved config; a ``hydra`` node is not compared.

    Raises:
        ConfigError: there is a run with another config, or one that is not the lab's.
        InputError: the run's files cannot be read.
    """
    if not (run_dir / directory.MANIFEST).exists():
        if (run_dir / directory.CHECKPOINTS).exists():
            raise ConfigError(
                f"{run_dir}: holds checkpoints without a {directory.MANIFEST}; choose another "
                "directory"
            )
        return
    directory.read_manifest(run_dir)
    stored = flat(OmegaConf.to_container(read_stored(run_dir / directory.CONFIG)))
    given = OmegaConf.to_container(config)
    assert isinstance(given, dict)
    given.pop("hydra", None)
    place = str(config.run_dir)
    now = {
        key: value.replace(place, ".") if isinstance(value, str) and place != "." else value
        for key, value in flat(given).items()
    }
    differing = [
        f"{key}={stored.get(key)} there, {now.get(key)} here"
        for key in sorted(stored.keys() | now.keys())
        if key not in MAY_DIFFER and stored.get(key) != now.get(key)
    ]
    if differing:
        more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise ConfigError(
            f"{run_dir}: holds a run of another config ({'; '.join(differing[:4])}{more}); "
            f"choose another directory, or go on with that run: mnist-lab resume {run_dir}"
        )


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping's values by dotted keys; an empty mapping is a value."""
    values: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = value
    return values


@contextlib.contextmanager
def attempt(run_dir: Path, environment: Mapping[str, Any], from_step: int) -> Iterator[None]:
    """Keep in the manifest that this process works on a run, and what becomes of it.

    Args:
        run_dir: the run's directory, which this process holds.
        environment: what the figures depend on besides the config.
        from_step: the step that the run goes on from.
    """
    is_there = (run_dir / directory.MANIFEST).exists()
    manifest = directory.read_manifest(run_dir) if is_there else {}
    attempts = [*manifest.get("attempts", [])]
    attempts.append(
        {
            "started": directory.now(),
            "from_step": from_step,
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
    )
    started = manifest.get("started", directory.now())
    directory.update_manifest(
        run_dir,
        **(environment if len(attempts) == 1 else {}),
        started=started,
        state="running",
        attempts=attempts,
    )
    state, error = "failed", None
    try:
        yield
        state = FINISHED
    except (KeyboardInterrupt, SystemExit):
        state = "interrupted"
        raise
    except Pruned as pruned:
        state, error = "pruned", str(pruned)
        raise
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
        raise
    finally:
        attempts[-1] |= {"ended": directory.now(), "state": state, "error": error}
        ended = {"state": state, "ended": directory.now(), "error": error, "attempts": attempts}
        # A full disk has ended the run; that it cannot be noted there is not the error to show.
        waived = (
            contextlib.nullcontext() if state == FINISHED else contextlib.suppress(StorageError)
        )
        with waived:
            directory.update_manifest(run_dir, **ended)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what the figures of a run depend on that was otherwise when it started."""
    old = flat({name: before[name] for name in _COMPARED if name in before})
    new = flat({name: now[name] for name in _COMPARED if name in now})
    return [
        f"{key} {old[key]}, now {new[key]}" for key in old if old[key] != new.get(key, old[key])
    ]
