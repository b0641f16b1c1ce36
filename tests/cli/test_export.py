"""mnist-lab export, used wrongly."""

from pathlib import Path

import pytest
from door import call


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("export", 2),
        ("export {run} --format tflite", 2),
        ("export {run} data=kmnist", 2),
        ("export nowhere", 3),
        ("export {run} --output nowhere/model.onnx", 5),
        ("export {run} --output .", 5),
    ],
)
def test_wrong_use_is_one_line(trained: Path, tmp_path: Path, arguments: str, code: int) -> None:
    done = call(arguments.format(run=trained), tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
