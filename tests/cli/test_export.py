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


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("mine")
    done = call("export run --output model.onnx", tmp_path)
    line = "mnist-lab export: model.onnx: is there already; --overwrite replaces it\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert (tmp_path / "model.onnx").read_text() == "mine"
    told = call("export run --output model.onnx --overwrite", tmp_path)
    assert told.returncode == 3  # there is no run
