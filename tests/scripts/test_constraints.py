"""The versions at both ends of what pyproject.toml admits."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def admitted() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    del extras["bench"]
    texts = sum(extras.values(), project["dependencies"])
    found = [Requirement(text) for text in texts]
    return {canonicalize_name(one.name): one for one in found if one.name != project["name"]}


@pytest.mark.parametrize("end", ["--lowest", "--next"])
def test_each_version_is_admitted(end: str) -> None:
    script = ROOT / "scripts" / "constraints.py"
    printed = subprocess.check_output([sys.executable, script, end], text=True)
    lines = [line.split("==") for line in printed.splitlines()]
    versions = {canonicalize_name(name): version for name, version in lines}
    assert admitted().keys() <= versions.keys()
    for name, requirement in admitted().items():
        assert requirement.specifier.contains(versions[name], prereleases=True), name
    if end == "--next":
        assert (versions["hydra-core"], versions["omegaconf"]) == ("1.4.0rc3", "2.4.1rc1")
