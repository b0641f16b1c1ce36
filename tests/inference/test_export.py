"""What is exported gives the checkpoint's logits."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from door import call

from mnist_lab import CNN, MLP
from mnist_lab.data.mnist_files import Split
from mnist_lab.errors import LabError
from mnist_lab.inference.export import export
from mnist_lab.inference.predict import open_run
from mnist_lab.models import Classifier

FOREIGN = re.compile(rb"site-packages|mnist_lab/|\.py\b")  # paths of files on this machine


@pytest.fixture(scope="module")
def onnx_file(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    done = call(f"export {trained} --output model.onnx", folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("model.onnx: ")
    assert "1,000 of them the same digit" in done.stdout
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    return folder / "model.onnx"


@torch.inference_mode()
def own_logits(model: Classifier, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(some) for some in images.split(500)])


def test_onnx_runtime_gives_the_checkpoints_logits(
    trained: Path, onnx_file: Path, mnist_test: Split
) -> None:
    session = onnxruntime.InferenceSession(onnx_file)
    parts = mnist_test.images.split(500)
    found = [session.run(None, {"images": some.numpy()}) for some in parts]
    logits, probabilities = (
        torch.from_numpy(np.concatenate(one)) for one in zip(*found, strict=True)
    )
    own = own_logits(open_run(trained).model, mnist_test.images)
    torch.testing.assert_close(logits, own, atol=1e-4, rtol=0)
    torch.testing.assert_close(probabilities, own.softmax(dim=1), atol=1e-5, rtol=0)
    correct = (logits.argmax(dim=1) == mnist_test.labels).sum()
    assert correct == (own.argmax(dim=1) == mnist_test.labels).sum()


@pytest.mark.parametrize("size", [1, 2, 7])
def test_takes_a_batch_of_any_size_in_bytes(onnx_file: Path, size: int) -> None:
    session = onnxruntime.InferenceSession(onnx_file)
    (images,) = session.get_inputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert images.shape[1:] == [1, 28, 28]
    logits, _ = session.run(None, {"images": np.zeros((size, 1, 28, 28), np.uint8)})
    assert logits.shape == (size, 10)


def test_is_sound_and_names_nothing_of_this_machine(onnx_file: Path) -> None:
    onnx.checker.check_model(onnx.load(onnx_file), full_check=True)
    assert FOREIGN.search(onnx_file.read_bytes()) is None


def test_the_documented_lines_use_it(onnx_file: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    lines = re.search(r"```python\n(import numpy.*?)```", page, re.DOTALL)[1]
    assert sum(map(bool, lines.splitlines())) == 5
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=onnx_file.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\[\d \d \d\]\n", done.stdout)


def test_torch_export(trained: Path, tmp_path: Path, mnist_test: Split) -> None:
    done = call(f"export {trained} --format torch --output model.pt2", tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        assert not any(FOREIGN.search(archive.read(name)) for name in archive.namelist())
    module = torch.export.load(tmp_path / "model.pt2").module()
    images = mnist_test.images[:300]
    logits, _ = module(images)
    torch.testing.assert_close(
        logits, own_logits(open_run(trained).model, images), atol=1e-4, rtol=0
    )


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize(
    "model",
    [
        CNN(channels=[4], kernel_size=3, batch_norm=True, dropout=0.5),
        MLP(hidden_dims=[8, 8], dropout=0.5, num_classes=3),
    ],
    ids=["cnn", "mlp"],
)
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_layers_that_differ_in_training(model: Classifier, kind: str, tmp_path: Path) -> None:
    parity = export(model.eval(), tmp_path / "model", kind)
    assert parity.holds
    assert parity.same == parity.images == 1000


def test_what_does_not_give_the_models_answers_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_lab.inference.export.TOLERANCE", -1.0)
    (tmp_path / "model.pt2").write_bytes(b"before")
    with pytest.raises(LabError, match="not written: its logits differ"):
        export(MLP(hidden_dims=[8]).eval(), tmp_path / "model.pt2", "torch")
    assert (tmp_path / "model.pt2").read_bytes() == b"before"


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_lab.config.extras.find_spec", lambda _: None)
    with pytest.raises(LabError, match=r"pip install 'mnist_lab\[export\]'"):
        export(MLP(hidden_dims=[8]), tmp_path / "model.onnx", "onnx")


class Normalised(MLP):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward((images / 255 - 0.1307) / 0.3081)


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_forward_of_ones_own_is_exported(tmp_path: Path, mnist_test: Split, kind: str) -> None:
    model, path = Normalised([8]).eval(), tmp_path / "model"
    assert export(model, path, kind).holds
    images = mnist_test.images[:10]
    if kind == "onnx":
        session = onnxruntime.InferenceSession(path)
        logits = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
    else:
        logits, _ = torch.export.load(path).module()(images)
    torch.testing.assert_close(logits, own_logits(model, images), atol=1e-4, rtol=0)
