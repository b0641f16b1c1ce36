"""The versions at both ends of what pyproject.toml admits."""

import json
import re
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


def test_hashes_are_of_the_tested_set_and_name_no_place() -> None:
    pinned, hashed = (
        {
            canonicalize_name(name): version
            for name, version in re.findall(
                r"^([\w.-]+)==(\S+)", (ROOT / file).read_text(), re.MULTILINE
            )
        }
        for file in ("constraints.txt", "constraints-hashed.txt")
    )
    assert {"torch", "lightning", "hydra-core", *admitted()} <= hashed.keys()
    assert pinned.items() <= hashed.items()
    lines = (ROOT / "constraints-hashed.txt").read_text().splitlines()
    form = re.compile(r"[\w.-]+==[\w.+-]+ --hash=sha256:[0-9a-f]{64}")
    assert all(form.fullmatch(line) for line in lines if not line.startswith("#"))


def test_a_report_of_pip_is_read_without_its_addresses(tmp_path: Path) -> None:
    archive = {"archive_info": {"hashes": {"sha256": "0" * 64}}, "url": "https://registry/x"}
    found = {"metadata": {"name": "x", "version": "1.0"}, "download_info": archive}
    project = {"metadata": {"name": "lab", "version": "1"}, "download_info": {"dir_info": {}}}
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"install": [found, project]}))
    script = ROOT / "scripts" / "constraints.py"
    command = [sys.executable, script, "--hashed", report]
    printed = subprocess.check_output(command, text=True)
    assert printed == f"x==1.0 --hash=sha256:{'0' * 64}\n"
