"""A run's figures again, from its directory alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from door import call, run

from mnist_lab import MLP, MNISTDataModule, evaluate, train


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
