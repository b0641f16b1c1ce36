"""A model added to the package is one Python file and one YAML file, and then has every verb."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from door import FEW_BATCHES

import mnist_lab
from mnist_lab.config.options import CONF

MODEL = '''\
"""A small network."""

import os
import signal

from torch import Tensor, nn

from mnist_lab.models.classifier import Classifier


class Tiny(Classifier):
    """One hidden layer.

    Args:
        width: units of the hidden layer.
    """

    def __init__(self, width: int = 8, **shared) -> None:
        super().__init__(**shared)
        if width < 1:
            raise ValueError(f"model.width={width}: must be at least 1")
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, self.num_classes)
        )
        self.initialize()

    def forward(self, images: Tensor) -> Tensor:
        if os.environ.pop("STOP_AT_THE_NEXT_BATCH", None):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(images)
'''
CONFIG = """\
# A small network: one hidden layer.
_target_: mnist_lab.models.tiny.Tiny
width: 8
"""
RUN_VERBS = """\
import contextlib, io, json, os, sys
from mnist_lab.cli.main import main
results = []
for stop, *words in json.loads(sys.argv[1]):
    if stop:
        os.environ["STOP_AT_THE_NEXT_BATCH"] = "1"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    results.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(results))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package and its conf folder, with a model added."""
    tree = tmp_path / "tree"
    shutil.copytree(Path(mnist_lab.__file__).parent, tree / "mnist_lab")
    shutil.copytree(CONF, tree / "conf")
    (tree / "mnist_lab" / "models" / "tiny.py").write_text(MODEL)
    (tree / "conf" / "model" / "tiny.yaml").write_text(CONFIG)
    return tree


@pytest.mark.slow
def test_has_every_verb(package: Path, tmp_path: Path) -> None:
    few = [*FEW_BATCHES.split(), "model=tiny", "~callbacks.pictures"]
    commands = [
        ["", "train", *few, "model.width=4", "hydra.run.dir=run"],
        ["stop", "train", *few, "hydra.run.dir=stopped"],
        ["", "resume", "stopped"],
        ["", "verify", "run"],
        ["", "train", "-m", *few, "model.width=2,3", "hydra.sweep.dir=sweep"],
        ["", "resume", "sweep"],
        ["", "report", "run", "sweep"],
        ["", "evaluate", "run"],
        ["", "predict", "run", "digit.png"],
        ["", "export", "run"],
        ["", "train", *few, "model.width=0", "hydra.run.dir=refused"],
        ["", "train", *few, "model.widht=4", "hydra.run.dir=refused"],
        ["", "train", "model=tinny", "hydra.run.dir=refused"],
    ]
    draw = "from PIL import Image; Image.new('L', (28, 28), 200).save('digit.png')"
    environment = os.environ | {"PYTHONPATH": str(package)}
    subprocess.run([sys.executable, "-c", draw], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-c", RUN_VERBS, json.dumps(commands)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    codes = [code for code, _, _ in results]
    assert codes == [0, 143, *[0] * 8, 2, 2, 2], results
    words = ("model.width=0", "model.widht", "did you mean tiny?")
    for (_, _, errors), word in zip(results[-3:], words, strict=True):
        assert word in errors
        assert len(errors.strip().splitlines()) == 1
        assert "Traceback" not in errors
    assert json.loads((tmp_path / "stopped" / "manifest.json").read_text())["state"] == "finished"
    assert not (tmp_path / "refused").exists()
