"""What figures depend on besides the code: machine, system and versions."""

import json
import os
import platform
import subprocess
import sys
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("mnist_lab", "torch", "lightning", "torchvision", "tensorflow")


def describe(torch_facts: dict[str, Any]) -> dict[str, Any]:
    """Return the machine, the system and the versions, without importing anything heavy.

    Args:
        torch_facts: what ``prepare`` wrote.
    """
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "gpu": torch_facts["gpu"],
        "threads": torch_facts["threads"],
        "bf16": torch_facts["bf16"],
        "os": f"{platform.system()} {platform.release()}",
        "versions": versions,
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def lines(machine: dict[str, Any]) -> list[str]:
    """Return a description in words."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    bf16 = "bf16 in hardware" if machine["bf16"] else "no bf16 in hardware"
    return [
        f"CPU: {machine['cpu']}, {machine['cores']} cores, {bf16}",
        f"GPU: {machine['gpu'] or 'none'}",
        f"OS: {machine['os']}",
        f"versions: {versions}" + (f", commit {machine['commit']}" if machine["commit"] else ""),
        f"torch threads: {machine['threads']}",
        f"date: {machine['date']}",
    ]


def prepare(path: Path) -> None:
    """Unpack the data where that is still to be done, and write what only torch knows.

    Args:
        path: JSON file to write: ``root`` of the data, ``threads``, ``gpu`` and ``bf16``.
    """
    import torch

    from mnist_lab.data.mnist_files import default_root, load_split

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that the cache cannot be written: other rows read it
        for train in (True, False):
            load_split("mnist", train)
    cuda = torch.cuda.is_available()
    on_cpu = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    facts = {
        "root": str(default_root().resolve()),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "bf16": bool(torch.cuda.is_bf16_supported() if cuda else on_cpu),
    }
    path.write_text(json.dumps(facts), encoding="utf-8")


def _cpu_model() -> str:
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # what this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _commit() -> str:
    folder = str(Path(__file__).parent)
    commit = _output("git", "-C", folder, "rev-parse", "--short", "HEAD")
    changes = _output("git", "-C", folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit} with changes" if commit and changes else commit


def _output(*command: str) -> str:
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
