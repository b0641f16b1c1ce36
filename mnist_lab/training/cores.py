"""Processor cores that this process may use."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

SPINS = "100000"
"""``GOMP_SPINCOUNT`` as the package sets it, unless it is set."""
_GROUPS = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def given_cores() -> int:
    """Return the cores that the process is bound to, which all programs go by."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_cores() -> int:
    """Return the cores that the process may use, or the share of them that its container grants."""
    return max(1, min([given_cores(), *map(math.ceil, _shares())]))


def _shares() -> Iterator[float]:
    """Yield the limits of the control groups that the process is in, in cores."""
    with contextlib.suppress(OSError):
        for line in _GROUPS.read_text().splitlines():
            _, names, path = line.split(":", 2)
            if not names:  # version 2
                yield from _read(_ROOT, path, "cpu.max")
            elif "cpu" in names.split(","):
                yield from _read(_ROOT / "cpu", path, "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _read(root: Path, path: str, *names: str) -> Iterator[float]:
    """Yield the limits of a group and of those around it."""
    group = Path(path.lstrip("/"))
    for folder in (group, *group.parents):
        with contextlib.suppress(OSError, ValueError):  # the ValueError of `max`: no limit
            words = [word for name in names for word in (root / folder / name).read_text().split()]
            quota, period = map(int, words)
            if quota > 0 and period > 0:
                yield quota / period
