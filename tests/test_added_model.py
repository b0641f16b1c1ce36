"""A model that is added to the package itself: one file with the class, one with its defaults."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from house import PACKAGE
from PIL import Image

from mnist_lab.config.options import CONF

MODEL = '''\
"""One hidden layer."""

from typing import Any

from torch import nn

from mnist_lab.models.classifier import Classifier


class Narrow(Classifier):
    """One hidden layer.

    Args:
        width: its units.
    """

    def __init__(self, width: int = 8, **shared: Any) -> None:
        super().__init__(**shared)
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, self.num_classes)
        )
        self.initialize()
'''
FEW = (
    "trainer=cpu trainer.max_epochs=1 trainer.limit_train_batches=2 trainer.limit_val_batches=1 "
    "trainer.limit_test_batches=1 logger=none ~callbacks.pictures trainer.enable_progress_bar=false"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and its conf folder, with two more files."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(PACKAGE, tree / "mnist_lab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CONF, tree / "conf")
    (tree / "mnist_lab" / "models" / "narrow.py").write_text(MODEL)
    (tree / "conf" / "model" / "narrow.yaml").write_text(
        "# One hidden layer.\n_target_: mnist_lab.models.narrow.Narrow\nwidth: 8\n"
    )
    return tree


def run(tree: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the copy, which is imported in place of the installed package."""
    code = "import sys; from mnist_lab.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_it_has_every_verb(tree: Path) -> None:
    digit = np.zeros((28, 28), dtype=np.uint8)
    digit[6:22, 13:15] = 255
    Image.fromarray(digit).save(tree / "one.png")
    for command in (
        f"train model=narrow model.width=4 hydra.run.dir=run {FEW}",
        "evaluate run data.batch_size=64",
        "resume run",
        "verify run",
        "predict run one.png",
        "export run --format torch",
        f"train -m model=narrow model.width=2,3 hydra.sweep.dir=sweep {FEW}",
        "resume sweep",
        "report run sweep",
    ):
        result = run(tree, command)
        assert result.returncode == 0, (command, result.stderr)


@pytest.mark.slow
def test_what_is_wrong_with_it_is_one_line(tree: Path) -> None:
    for command, message in (
        ("train model=narow", "did you mean narrow?"),
        (f"train model=narrow +model.depth=3 {FEW}", "depth"),
    ):
        result = run(tree, command)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1), (command, result.stderr)
        assert message in result.stderr, result.stderr
