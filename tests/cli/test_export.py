"""mnist-lab export, used wrongly."""

import zipfile
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
        ("export {run} --output .", 2),
        ("export {run} --format torch --output m.onnx", 2),
        ("export {run} --format onnx --output m.PT2", 2),
        ("export {run} --output m.pt", 2),
    ],
)
def test_wrong_use_is_one_line(trained: Path, tmp_path: Path, arguments: str, code: int) -> None:
    done = call(arguments.format(run=trained), tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)


def test_a_file_that_is_there_is_kept(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("mine")
    done = call(f"export {trained} --output model.onnx", tmp_path)
    line = "mnist-lab export: model.onnx: is there already; --overwrite replaces it\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert (tmp_path / "model.onnx").read_text() == "mine"


def test_the_format_is_that_of_the_suffix(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_text("mine")
    done = call(f"export {trained} --output model.pt2 --overwrite", tmp_path)
    assert done.returncode == 0, done.stderr
    assert zipfile.is_zipfile(tmp_path / "model.pt2")  # as torch.export writes it
    assert done.stdout.startswith("model.pt2: 1.7 MB; logits within ")


def test_a_suffix_of_the_other_format_is_named(tmp_path: Path) -> None:
    done = call("export run --format torch --output m.onnx", tmp_path)
    assert done.stderr == (
        "mnist-lab export: --output m.onnx: must end in .pt2 with --format torch\n"
    )
    done = call("export run --output m.pt", tmp_path)
    assert done.stderr == (
        "mnist-lab export: --output m.pt: must end in .onnx or .pt2, or --format is required\n"
    )
