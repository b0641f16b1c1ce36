"""A run's figures again, from its directory alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from door import FEW_BATCHES, call, run
from own_code import Images, Lit

from mnist_lab import MLP, MNISTDataModule, evaluate, train
from mnist_lab.errors import InputError
from mnist_lab.inference.evaluate import predict_test_images
from mnist_lab.report.plot import plot


@pytest.fixture(scope="module", params=["mlp", pytest.param("cnn", marks=pytest.mark.slow)])
def run_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was moved after it finished."""
    folder = tmp_path_factory.mktemp("evaluation")
    done = call(
        f"train model={request.param} trainer=cpu trainer.max_epochs=1 logger=none "
        "trainer.limit_train_batches=40 data.val_size=1000 hydra.run.dir=before",
        folder,
    )
    assert done.returncode == 0, done.stderr
    return Path(shutil.move(folder / "before", folder / "after"))


def test_gives_exactly_the_runs_own_metrics(run_dir: Path, tmp_path: Path) -> None:
    done = run(f"evaluate {run_dir} --json", tmp_path)
    assert done.returncode == 0, done.stderr
    again, metrics = json.loads(done.stdout), json.loads((run_dir / "metrics.json").read_text())
    assert again == {key: value for key, value in metrics.items() if key in again}
    assert {"val/acc", "test/acc", "test/loss", "test/acc_class_9"} <= set(again)
    assert list(tmp_path.iterdir()) == []


def test_python_gives_the_same(run_dir: Path) -> None:
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert evaluate(run_dir)["test/loss"] == pytest.approx(metrics["test/loss"], abs=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "run_dir", ["mlp", pytest.param("cnn", marks=pytest.mark.slow)], indirect=True
)
def test_two_processes_count_each_sample_once(run_dir: Path, tmp_path: Path) -> None:
    done = run(f"evaluate {run_dir} --json trainer=ddp_cpu trainer.devices=2", tmp_path)
    assert done.returncode == 0, done.stderr
    again, metrics = json.loads(done.stdout), json.loads((run_dir / "metrics.json").read_text())
    assert again["test/num_samples"] == 10_000
    assert again["test/acc"] == pytest.approx(metrics["test/acc"], abs=1e-6)
    assert again["test/loss"] == pytest.approx(metrics["test/loss"], abs=1e-6)


@pytest.mark.parametrize("run_dir", ["mlp"], indirect=True)
def test_other_data(run_dir: Path, mnist_files: Path, tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in mnist_files.glob("*-ubyte"):
        shutil.copy(path, raw / path.name)
    done = call(f"evaluate {run_dir} --json data=fashion_mnist data.root={tmp_path}", tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert json.loads(done.stdout)["test/acc"] == metrics["test/acc"]  # the same digits by name


@pytest.mark.thorough
@pytest.mark.parametrize("run_dir", ["mlp"], indirect=True)
def test_a_checkpoint_rebuilds_its_model_without_hydra(run_dir: Path) -> None:
    code = (
        "import sys; from mnist_lab import MLP\n"
        "model = MLP.load_from_checkpoint(sys.argv[1], weights_only=True)\n"
        "assert 'hydra' not in sys.modules; print(model.num_classes)"
    )
    path = run_dir / "checkpoints" / "best.ckpt"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout.strip() == "10", done.stderr


def test_models_and_data_work_with_plain_arguments() -> None:
    model = MLP(hidden_dims=[16], optimizer={"name": "adam", "lr": 3e-3})
    datamodule = MNISTDataModule(batch_size=200)
    options = {"accelerator": "cpu", "enable_progress_bar": False}
    metrics = train(model, datamodule, max_epochs=1, limit_train_batches=50, **options)
    assert metrics["test/acc"] > 0.7
    assert evaluate(model, datamodule)["test/acc"] == pytest.approx(metrics["test/acc"], abs=1e-6)


OWN = {
    "data": ("model=softmax data=images", 64, 10),
    "lightning": ("model=lit monitor=val_loss mode=min", 10_000, 10),
    "both": (
        "model=lit data=images +data.classes=10 +data.shape=[1,28,28] monitor=val_loss",
        64,
        10,
    ),
}


@pytest.fixture(scope="module", params=OWN)
def own(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """A run of data, or of a LightningModule, of one's own."""
    folder = tmp_path_factory.mktemp(request.param)
    for group, name in (("data", "Images"), ("model", "Lit")):
        path = folder / "mine" / group / f"{name.lower()}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"_target_: own_code.{name}\n")
    words = OWN[request.param][0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNIST_LAB_ALLOW", "own_code.")
        done = call(
            f"train {FEW_BATCHES} ~callbacks.pictures --config-dir mine {words} protocol=sealed "
            "hydra.run.dir=run",
            folder,
        )
        assert done.returncode == 0, done.stderr
        yield request.param, folder


def test_predictions_of_what_is_ones_own(own: tuple[str, Path]) -> None:
    name, folder = own
    predictions = predict_test_images(folder / "run")
    assert predictions.probs.shape == OWN[name][1:]
    assert predictions.probs.sum(dim=1).allclose(torch.ones(1))
    readings = json.loads((folder / "run" / "manifest.json").read_text())["test_readings"]
    assert readings[-1]["by"] == "predict"


def test_report_and_card_of_what_is_ones_own(own: tuple[str, Path]) -> None:
    name, folder = own
    done = call("report run --test --html page.html --compare run run", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the most confident mistakes" in (folder / "page.html").read_text()
    assert plot(folder / "run", chart="confusion")
    before = (folder / "run" / "manifest.json").read_text()
    done = call("card run", folder)
    if name == "lightning":
        assert done.returncode == 0, done.stderr
        return
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "run: card needs grey test images (N, 1, H, W) uint8; found float32 (64" in done.stderr
    assert (folder / "run" / "manifest.json").read_text() == before


@pytest.mark.parametrize("name", ["Renamed", "Attached"])
def test_own_hooks_of_checkpoints(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine" / "model" / "hooked.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"_target_: own_code.{name}\n")
    monkeypatch.setenv("MNIST_LAB_ALLOW", "own_code.")
    words = "--config-dir mine model=hooked monitor=val_loss scheduler=none ~callbacks.pictures"
    words += " trainer=cpu trainer.limit_train_batches=2 logger=none hydra.run.dir=run"
    for verb in (f"train {words} trainer.max_epochs=2", "resume run trainer.max_epochs=3"):
        done = call(verb, tmp_path)
        assert done.returncode == 0, done.stderr
    assert "from step 2 of 4" in done.stdout
    again = evaluate(tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert again == {name: metrics[name] for name in ("val_loss", "test_loss")}
    assert call("verify run", tmp_path).returncode == 0


def test_data_without_images_is_one_line(own: tuple[str, Path], monkeypatch: Any) -> None:
    name, folder = own
    if name == "lightning":
        monkeypatch.setattr(Lit, "forward", lambda _, images: {"logits": images})
        line = "Lit.forward: gives dict for images"
    else:
        monkeypatch.setattr(Images, "test_dataloader", lambda _: [torch.zeros(4)])
        line = "data._target_=Images: test_dataloader: batches of images and labels are required"
    with pytest.raises(InputError, match=line):
        predict_test_images(folder / "run")
    done = call("report run --test --html page.html --overwrite", folder)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert f"no mistakes of row 1: {line}" in done.stderr
