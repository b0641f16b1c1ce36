"""Data of one's own by every verb: a folder of images, and a file of arrays."""

import json
import shutil
from pathlib import Path

import pytest
from door import call
from own_images import write_folder

CLASSES = {"cat": 30, "dog": 30, "gnu": 30}
QUICK = "trainer=cpu trainer.max_epochs=3 trainer.enable_model_summary=false data.batch_size=16"


def read(path: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(path.read_text())
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has ``images``, and ``run``, trained on them."""
    folder = tmp_path_factory.mktemp("own")
    write_folder(folder / "images", CLASSES)
    done = call(
        f"train model=softmax data=folder data.root=images {QUICK} hydra.run.dir=run "
        "optimizer.lr=0.02",
        folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_train_follows_the_folder(folder: Path) -> None:
    metrics, manifest = read(folder / "run" / "metrics.json"), read(folder / "run/manifest.json")
    assert metrics["test/num_samples"] == 18
    assert metrics["test/acc"] > 0.8  # type: ignore[operator]
    assert metrics["num_params"] == 3 * 785
    assert manifest["class_names"] == [*CLASSES]
    assert set(manifest["data"]) == {"train", "test"}  # type: ignore[call-overload]


def test_evaluate_and_verify(folder: Path) -> None:
    done = call("evaluate run --json", folder)
    assert (done.returncode, done.stderr) == (0, "")
    metrics = read(folder / "run" / "metrics.json")
    again = json.loads(done.stdout)
    assert again == {name: metrics[name] for name in again}
    assert "val/acc" in again
    done = call("verify run", folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_content_of_the_folder_is_noticed(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "copy")
    (copied / "run" / "manifest.json").write_text(
        json.dumps(read(folder / "run" / "manifest.json") | {"state": "interrupted"})
    )
    shutil.rmtree(copied / "images" / "gnu")
    write_folder(copied / "images", {"gnu": 29})
    done = call(
        f"train model=softmax data=folder data.root=images {QUICK} hydra.run.dir=run "
        "optimizer.lr=0.02",
        copied,
    )
    assert done.returncode == 3
    assert "was started on data of other content" in done.stderr
