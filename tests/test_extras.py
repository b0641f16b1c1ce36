"""The extras, and what reads pictures, are no part of training, nor is Optuna of a single run."""

import subprocess
import sys
from pathlib import Path

import pytest
from door import FEW_BATCHES

EXTRAS = (
    *("onnx", "onnxruntime", "onnxscript", "starlette", "uvicorn", "sklearn", "playwright"),
    *("jinja2", "mlflow", "plotly", "ray", "submitit", "tensorflow", "wandb"),
)


@pytest.mark.thorough
def test_training_imports_and_needs_none_of_the_extras(tmp_path: Path) -> None:
    code = (
        f"import sys; absent = {EXTRAS}; sys.modules.update(dict.fromkeys(absent))\n"
        "from mnist_lab.cli.main import main\n"
        f"code = main({['train', 'model=cnn', *FEW_BATCHES.split()]})\n"
        "print([name for name in sys.modules if name.startswith('mnist_lab.inference.web')\n"
        "       or name in ('mnist_lab.inference.digit_finder', 'mnist_lab.inference.export',\n"
        "                   'optuna')])\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
