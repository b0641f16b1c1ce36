"""Data of one's own by every verb: a folder of images, and a file of arrays."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from door import call
from own_images import write_folder
from served import answered

from mnist_lab import SoftmaxRegression, predict
from mnist_lab.errors import InputError
from mnist_lab.inference.evaluate import class_names_in
from mnist_lab.inference.predict import open_run
from mnist_lab.inference.web.app import build_app

CLASSES = {"cat": 30, "dog": 30, "gnu": 30}
TRAIN = (
    "model=softmax data=folder data.root=images data.batch_size=16 optimizer.lr=0.02 trainer=cpu "
    "trainer.max_epochs=3 trainer.enable_model_summary=false"
)


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has ``images``, and ``run``, trained on them."""
    folder = tmp_path_factory.mktemp("own")
    write_folder(folder / "images", CLASSES)
    done = call(f"train {TRAIN} hydra.run.dir=run", folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_train_follows_the_folder(folder: Path) -> None:
    metrics, manifest = read(folder / "run" / "metrics.json"), read(folder / "run/manifest.json")
    assert metrics["test/num_samples"] == 18
    assert metrics["test/acc"] > 0.8
    assert metrics["num_params"] == 3 * 785
    assert manifest["class_names"] == [*CLASSES]
    assert set(manifest["data"]) == {"train", "test"}


def test_evaluate_and_verify(folder: Path) -> None:
    done = call("evaluate run --json", folder)
    assert (done.returncode, done.stderr) == (0, "")
    metrics = read(folder / "run" / "metrics.json")
    again = json.loads(done.stdout)
    assert again == {name: metrics[name] for name in again}
    assert "val/acc" in again
    done = call("verify run", folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_predict_says_the_name(folder: Path) -> None:
    done = call("predict run images/gnu/3.png images/cat/3.png", folder)
    assert (done.returncode, done.stderr) == (0, "")
    head, _, first, second = done.stdout.splitlines()
    assert head.split()[1] == "class"
    assert first.split()[1] == "gnu"
    assert second.split()[1] == "cat"
    (row,) = predict(folder / "run", folder / "images" / "gnu" / "3.png")
    assert (row.digit, row.class_name) == (2, "gnu")
    assert row.as_json()["class_name"] == "gnu"


def test_evaluate_has_a_row_for_each_name(folder: Path) -> None:
    lines = call("evaluate run", folder).stdout.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == [*CLASSES]


def test_report_and_export(folder: Path) -> None:
    for command in ("report run --html page.html", "export run --format torch"):
        done = call(command, folder)
        assert (done.returncode, done.stderr) == (0, "")
    text = (folder / "page.html").read_text()
    assert '"x":["cat","dog","gnu"]' in text.replace('", "', '","').replace(": ", ":")


def test_the_page_is_told_the_names(folder: Path) -> None:
    app = build_app({"run": open_run(folder / "run")}, ["page"])
    assert answered(app, "GET", "/runs")[1]["class_names"] == {"run": [*CLASSES]}
    content = (folder / "images" / "dog" / "2.png").read_bytes()
    (run,) = answered(app, "POST", "/predict", content)[1]["runs"]
    (digit,) = run["digits"]
    assert (digit["digit"], digit["class_name"]) == (1, "dog")


def test_names_in_a_strangers_run_are_bounded(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    manifest = read(run / "manifest.json")
    for names, shown in (
        (["a", "b" * 300, "c"], "class_names: must be texts of at most 255 characters"),
        (["a"] * 1001, "class_names: must be a list of at most 1,000 texts"),
        ([1, 2, 3], "class_names: must be a list of at most 1,000 texts"),
        ("abc", "class_names: must be a list of at most 1,000 texts"),
    ):
        (run / "manifest.json").write_text(json.dumps(manifest | {"class_names": names}))
        with pytest.raises(InputError, match=shown):
            class_names_in(run)
    names = ["a", "\x1b[31mb", "c"]
    (run / "manifest.json").write_text(json.dumps(manifest | {"class_names": names}))
    assert class_names_in(run) == ("a", "\\x1b[31mb", "c")


def test_a_place_that_only_the_run_names_must_hold_its_data(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    write_folder(tmp_path / "private", {"one": 9, "two": 9, "three": 9})
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(
        config.replace(str(folder / "images"), str(tmp_path / "private"))
    )
    done = call("evaluate run", tmp_path)
    assert done.returncode == 3
    assert "private: has other content than run was tested on" in done.stderr
    done = call("report run --html page.html", tmp_path)
    assert "private: has other content" in done.stderr
    assert call("evaluate run data.root=private", tmp_path).returncode == 0


def test_a_sweep_is_stacked(folder: Path) -> None:
    done = call(
        f"train -m hydra/launcher=fused {TRAIN} optimizer.lr=0.02,0.01 hydra.sweep.dir=sweep",
        folder,
    )
    assert done.returncode == 0, done.stderr
    assert "one by one" not in done.stdout
    for number in (0, 1):
        manifest = read(folder / "sweep" / str(number) / "manifest.json")
        assert manifest["class_names"] == [*CLASSES]
        assert manifest["data"] == read(folder / "run" / "manifest.json")["data"]
    first, alone = (read(folder / place / "metrics.json") for place in ("sweep/0", "run"))
    assert first["test/loss"] == alone["test/loss"]
    assert call("evaluate sweep/1", folder).returncode == 0


def test_resumes_exactly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = f"train {TRAIN} data.augment=affine callbacks.checkpoint.every_n_steps=2"
    train = f"{command} hydra.run.dir=whole"
    assert call(train, folder).returncode == 0
    step = SoftmaxRegression.training_step

    def fails(model: SoftmaxRegression, batch: Any, batch_idx: int) -> Any:
        if model.global_step == 7:  # in the second epoch
            raise RuntimeError("killed")
        return step(model, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(SoftmaxRegression, "training_step", fails)
        with pytest.raises(RuntimeError, match="killed"):
            call(f"{command} hydra.run.dir=killed", folder)
    done = call("resume killed", folder)
    assert done.returncode == 0, done.stderr
    assert "resumes from step" in done.stdout
    whole, killed = (read(folder / name / "manifest.json") for name in ("whole", "killed"))
    assert whole["sha256"] == killed["sha256"]


def test_other_content_of_the_folder_is_noticed(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "copy")
    (copied / "run" / "manifest.json").write_text(
        json.dumps(read(folder / "run" / "manifest.json") | {"state": "interrupted"})
    )
    shutil.rmtree(copied / "images" / "gnu")
    write_folder(copied / "images", {"gnu": 29})
    done = call(f"train {TRAIN} hydra.run.dir=run", copied)
    assert done.returncode == 3
    assert "was started on data of other content" in done.stderr


def _folder(place: Path, **counts: int) -> None:
    write_folder(place / "mine", counts)


def _broken(place: Path) -> None:
    _folder(place, cat=3, dog=3)
    (place / "mine" / "dog" / "1.png").write_bytes(b"no image")


def _npz(place: Path, shape: tuple[int, ...] = (20, 28, 28), most: int = 3) -> None:
    labels = np.arange(shape[0]) % (most + 1)
    np.savez(place / "mine.npz", images=np.zeros(shape, np.uint8), labels=labels)


FOLDER, ARRAYS = "data=folder data.root=mine", "data=arrays data.root=mine.npz"
REFUSED: dict[str, tuple[Any, str, int, str]] = {
    "one class": (lambda p: _folder(p, cat=3), FOLDER, 3, "mine: 1 folder found, one for each"),
    "no images": (lambda p: _folder(p, cat=3, dog=0), FOLDER, 3, "mine/dog: no image that can be"),
    "a broken image": (_broken, FOLDER, 3, "mine/dog/1.png: not an image"),
    "another shape": (lambda p: _npz(p, (20, 32, 32)), ARRAYS, 3, "(N, 28, 28) of whole numbers"),
    "colour": (lambda p: _npz(p, (20, 28, 28, 3)), ARRAYS, 3, "uint8 (20, 28, 28, 3) found"),
    "labels beyond a model's classes": (
        *(_npz, f"{ARRAYS} model.num_classes=3", 2),
        "model.num_classes=3: must be at least 4, the data's classes",
    ),
    "labels beyond any": (lambda p: _npz(p, (2000, 28, 28), 1500), ARRAYS, 3, "0 to 999 at most"),
    "no metric": (_npz, f"{ARRAYS} metrics=f3", 2, "metrics=f3: must be one of auroc, calibr"),
    "a monitor of nothing": (_npz, f"{ARRAYS} monitor=val/f1", 2, "monitor=val/f1: must be one of"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_data_is_one_line_and_nothing_is_made(name: str, tmp_path: Path) -> None:
    write, words, code, line = REFUSED[name]
    write(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = call(f"train model=softmax trainer=cpu {words} hydra.run.dir=run", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
    assert line in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
