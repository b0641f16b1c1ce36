"""Cores that a container grants, and what the lab has OpenMP do with them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_lab.training import cores

FILES = {
    "no groups": ("", {}, 8),
    "no limit": ("0::/", {"cpu.max": "max 100000"}, 8),
    "two cores": ("0::/", {"cpu.max": "200000 100000"}, 2),
    "one and a half": ("0::/", {"cpu.max": "150000 100000"}, 2),
    "a tenth": ("0::/", {"cpu.max": "10000 100000"}, 1),
    "more than there are": ("0::/", {"cpu.max": "6400000 100000"}, 8),
    "of a group around it": ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 1"}, 3),
    "the least of all": ("0::/a", {"cpu.max": "200000 100000", "a/cpu.max": "500000 100000"}, 2),
    "version 1": (
        "4:cpu,cpuacct:/a\n3:cpuset:/",
        {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"},
        3,
    ),
    "version 1 without a limit": (
        "4:cpu:/",
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        8,
    ),
    "nothing to read": ("0::/gone", {}, 8),
    "no number": ("0::/", {"cpu.max": "many few"}, 8),
}


@pytest.mark.parametrize("name", FILES)
def test_a_share_of_the_cores(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups, files, expected = FILES[name]
    (tmp_path / "groups").write_text(groups)
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{text}\n")
    monkeypatch.setattr(cores, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(cores, "_ROOT", tmp_path)
    monkeypatch.setattr(cores, "given_cores", lambda: 8)
    assert cores.usable_cores() == expected


@pytest.mark.parametrize(
    ("variable", "chosen", "expected"),
    [
        ("GOMP_SPINCOUNT", None, "100000"),
        ("GOMP_SPINCOUNT", "7", "7"),
        ("OMP_WAIT_POLICY", "PASSIVE", None),
        ("OMP_WAIT_POLICY", "ACTIVE", None),
        ("OMP_NUM_THREADS", "3", None),
    ],
)
def test_what_a_user_has_set_is_left(variable: str, chosen: str | None, expected: str) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {variable: chosen} if chosen is not None else {}
    code = f"import os, mnist_lab; print(*(os.environ.get(name, '-') for name in {names}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    values = dict(zip(names, done.stdout.split(), strict=True))
    spins = "-" if variable == "OMP_WAIT_POLICY" else expected or "100000"
    assert values["GOMP_SPINCOUNT"] == spins
    assert values[variable] == (chosen or expected)
