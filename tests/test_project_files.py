"""The files by which others install, cite, check and report."""

import shlex
from pathlib import Path

import yaml

from mnist_lab import __version__

ROOT = Path(__file__).parents[1]


def read(name: str) -> dict:
    content = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_the_citation_names_this_version() -> None:
    assert read("CITATION.cff")["version"] == __version__


def test_the_workflow_runs_the_shipped_scripts_on_each_supported_python() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    pythons = jobs["check"]["strategy"]["matrix"]["python"]
    classifiers = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert pythons[0] in classifiers  # the lowest of requires-python
    assert pythons == ["3.11", "3.12", "3.13"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert sorted(set(commands)) == [".ci/run", "scripts/test --lowest", "scripts/test --next"]
    for command in commands:
        assert (ROOT / shlex.split(command)[0]).is_file()


def test_pre_commit_runs_what_ci_runs() -> None:
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    tools = {Path(shlex.split(hook["entry"])[0]).name for hook in repository["hooks"]}
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert tools == {"ruff", "mypy"}
    assert all(f".venv/bin/{tool}" in ci for tool in tools)


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "mnist_lab/py.typed").is_file()


def test_security_names_files_that_are_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert links
    assert all((ROOT / link).is_file() for link in links if "://" not in link)
