"""The shipped door: the installed command, in a process of its own or in this one."""

import contextlib
import io
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_lab.cli import main as cli

COMMAND = Path(sys.executable).parent / "mnist-lab"
FEW_BATCHES = (
    "trainer=cpu trainer.max_epochs=1 trainer.limit_train_batches=2 trainer.limit_val_batches=1 "
    "trainer.limit_test_batches=1 logger=none trainer.enable_model_summary=false"
)


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``mnist-lab`` with these words in a folder, and return what it printed."""
    return subprocess.run(
        [COMMAND, *shlex.split(command)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def call(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Do as ``run`` does in this process, which has imported torch already: seconds quicker.

    A warning is an error here, as in every test.
    """
    words = shlex.split(command)
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
    return subprocess.CompletedProcess([COMMAND, *words], code, out.getvalue(), err.getvalue())


def main(arguments: list[str]) -> int:
    """Run the command in this process, and close its log."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    try:
        return cli.main(arguments)
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)


def train(command: str, folder: Path) -> Path:
    """Train in a folder, in which nothing was trained before, and return the run's directory."""
    done = call(f"train {command}", folder)
    assert done.returncode == 0, done.stderr
    (manifest,) = folder.rglob("manifest.json")
    return manifest.parent


def without_torch(folder: Path) -> dict[str, str]:
    """Return an environment in which to import torch is an error."""
    fake = folder / "without" / "torch"
    fake.mkdir(parents=True, exist_ok=True)
    (fake / "__init__.py").write_text("raise RuntimeError('torch was imported')\n")
    return ahead(fake.parent)


def ahead(folder: Path) -> dict[str, str]:
    """Return an environment in which modules are looked for in a folder first."""
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    }
