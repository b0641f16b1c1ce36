"""What scripts/setup.sh does before and around pip, with a Python that only notes its calls."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ("scripts/setup.sh", "scripts/test", "scripts/constraints.py")
PYTHON = """\
#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
if [ "$1 $2" = "-m venv" ]; then
    for folder; do :; done
    mkdir -p "$folder/bin" && rm -f "$folder/bin/python" && cp "$0" "$folder/bin/python"
fi
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    checkout = tmp_path / "a checkout"
    (checkout / "scripts").mkdir(parents=True)
    for name in (*SCRIPTS, "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, checkout / name)
    (tmp_path / "bin").mkdir()
    for name in ("python3.11", "python3.12", "python3.13"):
        path = tmp_path / "bin" / name
        path.write_text(PYTHON)
        path.chmod(0o755)
    return checkout


def calls(checkout: Path, command: str = 'set -eu; . "scripts/setup.sh"; install dev') -> list[str]:
    """Install, as the scripts do from the folder that they are in, and return who was called."""
    log = checkout.parent / "calls"
    log.write_text("")
    path = f"{checkout.parent / 'bin'}:{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-c", command],
        cwd=checkout,
        env={"PATH": path, "CALLS": str(log), "CDPATH": str(checkout)},
        check=True,
        capture_output=True,
        timeout=300,
    )
    return log.read_text().splitlines()


def test_installs_once_with_the_python_that_is_tested_most(checkout: Path) -> None:
    first = calls(checkout)
    assert f"python3.11 -m venv --clear {checkout / '.venv'}" in first
    assert first[-1].startswith("python -m pip install")
    assert first[-1].endswith(f"--editable {checkout}[dev]")
    assert calls(checkout) == []


@pytest.mark.parametrize("python", ["#!/bin/sh\nexit 1\n", None])
def test_a_venv_without_pip_is_made_again(checkout: Path, python: str | None) -> None:
    """As it is where venv was interrupted, or the Python that it links to is gone."""
    link = checkout / ".venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    if python is None:
        link.symlink_to("gone")
    else:
        link.write_text(python)
        link.chmod(0o755)
    assert calls(checkout)[-1].startswith("python -m pip install")


def test_a_whole_venv_is_kept(checkout: Path) -> None:
    calls(checkout)
    (checkout / "pyproject.toml").write_text("changed")
    assert [call.split()[0] for call in calls(checkout)] == ["python", "python"]  # pip, twice


@pytest.mark.parametrize("name", ["lowest", "next"])
def test_other_versions_have_an_environment_of_their_own(name: str, checkout: Path) -> None:
    called = calls(checkout, f"scripts/test --{name} -k one")
    assert f"python3.11 {checkout}/scripts/constraints.py --{name}" in called
    assert f"python3.11 -m venv --clear {checkout}/.venv-{name}" in called
    assert f"--constraint {checkout}/.venv-{name}.txt" in called[-2]
    assert called[-1].startswith("python -m pytest")
    assert called[-1].endswith("-k one")
    assert not (checkout / ".venv").exists()


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU")
def test_without_a_gpu_a_line_says_how_to_install_less(checkout: Path) -> None:
    said = "no NVIDIA GPU was found: docs/install.md"
    command = 'set -eu; . scripts/setup.sh; install "" 2>"$CALLS.said"'
    calls(checkout, command)
    assert (checkout.parent / "calls.said").read_text().count(said) == 1
    assert (ROOT / "docs" / "install.md").is_file()
    calls(checkout, command)  # nothing is to be installed
    assert (checkout.parent / "calls.said").read_text() == ""
    (checkout / "pyproject.toml").write_text("changed")
    (checkout / ".venv" / "lib" / "python3.11" / "site-packages" / "torch").mkdir(parents=True)
    calls(checkout, command)
    assert said not in (checkout.parent / "calls.said").read_text()
