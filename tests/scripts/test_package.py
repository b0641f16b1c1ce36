"""The wheel and the sdist: the same bytes every time, and all that an environment needs."""

import faulthandler
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mnist_lab import __version__

ROOT = Path(__file__).parents[2]
WHEEL = f"mnist_lab-{__version__}-py3-none-any.whl"
FEW = "trainer=cpu trainer.max_epochs=1 trainer.limit_train_batches=3 model=softmax"
# What someone does first, in a folder that has no checkout.
COMMANDS = (
    "--version",
    "train --help",
    f"train {FEW} hydra.run.dir=run",
    "evaluate run",
    f"train -m {FEW} optimizer.lr=1e-3,1e-2 hydra.sweep.dir=sweep hydra/launcher=fused",
    "runs .",
)


def build(checkout: Path) -> dict[str, str]:
    """Build both in a checkout, and return the hash of each file."""
    out = checkout / "out"
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two copies of what git has, at other places and of other times."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.check_output(command, cwd=ROOT, text=True).split("\0")[:-1]
    copies = [tmp_path_factory.mktemp(name) for name in ("one", "another")]
    for age, copy in enumerate(copies):
        for name in filter(lambda name: (ROOT / name).is_file(), listed):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
            os.utime(copy / name, (1_700_000_000 + age, 1_700_000_000 + age))
    return copies


@pytest.mark.slow
def test_two_builds_have_the_same_bytes(checkouts: list[Path], tmp_path: Path) -> None:
    one, another = map(build, checkouts)
    assert one == another
    assert set(one) == {WHEEL, f"mnist_lab-{__version__}.tar.gz"}
    shutil.unpack_archive(checkouts[0] / "out" / f"mnist_lab-{__version__}.tar.gz", tmp_path)
    assert build(tmp_path / f"mnist_lab-{__version__}")[WHEEL] == one[WHEEL]
    with zipfile.ZipFile(checkouts[0] / "out" / WHEEL) as archive:
        names = archive.namelist()
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"mnist_lab", f"mnist_lab-{__version__}.dist-info"}
    assert {"mnist_lab/py.typed", "mnist_lab/conf/train.yaml"} <= set(names)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_in_an_empty_environment(version: str, checkouts: list[Path], tmp_path: Path) -> None:
    """Takes 6 GB for its time, and what pip takes to fetch them: 12 minutes on a busy machine."""
    faulthandler.cancel_dump_traceback_later()  # pytest's limit is for tests that hang
    path = python_of(version)
    if path is None:
        pytest.skip(f"Python {version} with venv was found neither in PATH nor below pyenv and uv")
    build(checkouts[0])
    try:
        use(path, checkouts[0] / "out" / WHEEL, tmp_path)
    finally:
        shutil.rmtree(tmp_path / "venv", ignore_errors=True)


def python_of(version: str) -> str | None:
    """Return an interpreter of a version that can make environments, wherever people keep one."""
    homes = {
        "PYENV_ROOT": "~/.pyenv",
        "UV_PYTHON_INSTALL_DIR": "~/.local/share/uv/python",
    }
    folders = [Path(folder) for folder in os.get_exec_path()]
    for variable, usual in homes.items():
        home = Path(os.environ.get(variable) or os.path.expanduser(usual))
        folders += [*home.glob("versions/*/bin"), *home.glob("*/bin")]
    check = f"import sys, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for path in [folder / f"python{version}" for folder in folders]:
        # A shim of pyenv's may stand for a version that is not chosen, and Debian leaves out venv.
        if (
            path.is_file()
            and not subprocess.run([path, "-c", check], capture_output=True).returncode
        ):
            return str(path)
    return None


def use(python: str, wheel: Path, folder: Path) -> None:
    """Install a wheel into an environment of its own, and do what someone does first."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def done(*words: str | Path) -> str:
        result = subprocess.run(words, cwd=folder, env=own, capture_output=True, text=True)
        assert result.returncode == 0, f"{words}\n{result.stdout}{result.stderr}"
        return result.stdout

    done(python, "-m", "venv", "venv")
    programs = folder / "venv" / "bin"
    done(programs / "pip", "install", "--quiet", wheel)
    done(programs / "pip", "check")
    for command in COMMANDS:
        out = done(programs / "mnist-lab", *command.split())
        assert out or command.startswith("train"), command
    assert (folder / "run" / "metrics.json").is_file()
    assert (folder / "sweep" / "leaderboard.csv").is_file()
    inspected = done(programs / "tensorboard", "--inspect", "--logdir", "run")
    assert "val/acc" in inspected
