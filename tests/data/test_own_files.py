"""Files of one's own in a folder of MNIST's: used or refused, and never lost."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from door import FEW_BATCHES, call
from idx_damage import IMAGES, LABELS, cut, empty, flip_last_bit, label_of_99, too_long, zeros
from published_files import idx

from mnist_lab.data import MNISTDataModule
from mnist_lab.data.mnist_files import MNIST_SHA256, Split, load_split
from mnist_lab.errors import ConfigError, InputError

TRAIN = f"train model=softmax ~callbacks.pictures {FEW_BATCHES}"
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def relabelled(content: bytes) -> bytes:
    return content[:8] + bytes(9 - label for label in content[8:])


def put(raw: Path, name: str, content: bytes) -> None:
    """Write a new file, in place of a link to the cached one too."""
    raw.mkdir(parents=True, exist_ok=True)
    (raw / name).unlink(missing_ok=True)
    (raw / name).write_bytes(content)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def root(tmp_path: Path, mnist_files: Path) -> Path:
    """A user's folder, in which all four files are MNIST's."""
    raw = tmp_path / "mine" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in MNIST_SHA256:
        os.link(mnist_files / name, raw / name)
    return tmp_path / "mine"


@pytest.mark.parametrize("is_by_variable", [False, True])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((TRAIN_LABELS, relabelled), (LABELS, relabelled), (TRAIN_LABELS, flip_last_bit)),
        *((IMAGES, flip_last_bit), (TRAIN_IMAGES, flip_last_bit), (LABELS, flip_last_bit)),
    ],
)
def test_ones_own_content_is_used_and_kept(
    root: Path,
    name: str,
    change: Callable[[bytes], bytes],
    is_by_variable: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw = root / "MNIST" / "raw"
    content = change((raw / name).read_bytes())
    put(raw, name, content)
    before = files(root)
    if is_by_variable:
        monkeypatch.setenv("MNIST_LAB_DATA", str(root))
    split = load_split("mnist", name.startswith("train"), None if is_by_variable else root)
    values = split.labels if "labels" in name else split.images
    assert int(values.flatten()[-1]) == content[-1]
    assert f"{raw / name}: is not the published file of MNIST" in caplog.text
    assert files(root) == before


def test_train_and_evaluate_leave_ones_own_files(root: Path, tmp_path: Path) -> None:
    raw = root / "MNIST" / "raw"
    put(raw, TRAIN_LABELS, relabelled((raw / TRAIN_LABELS).read_bytes()))
    put(raw, LABELS, relabelled((raw / LABELS).read_bytes()))
    before = files(root)
    done = call(f"{TRAIN} data.root={root} hydra.run.dir=run", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{raw / LABELS}: is not the published file of MNIST" in done.stdout
    evaluated = call("evaluate run --json", tmp_path)
    assert evaluated.returncode == 0
    data = json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]
    assert data["test"] == load_split("mnist", False, root).sha256
    assert files(root) == before


REFUSED = [
    *((name, change) for name in (LABELS, TRAIN_LABELS) for change in (label_of_99, cut, empty)),
    *((name, change) for name in (IMAGES, TRAIN_IMAGES) for change in (zeros, too_long)),
]


@pytest.mark.parametrize(("name", "change"), REFUSED)
def test_what_is_no_set_is_named_and_kept(
    root: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    raw = root / "MNIST" / "raw"
    put(raw, name, change((raw / name).read_bytes()))
    before = files(root)
    with pytest.raises(InputError, match=f"^{raw / name}: ") as caught:
        load_split("mnist", name.startswith("train"), root)
    assert "\n" not in str(caught.value)
    assert files(root) == before


def test_a_refused_run_leaves_no_directory(root: Path, tmp_path: Path) -> None:
    raw = root / "MNIST" / "raw"
    put(raw, TRAIN_LABELS, cut((raw / TRAIN_LABELS).read_bytes()))
    before = files(tmp_path)
    done = call(f"{TRAIN} data.root={root} hydra.run.dir=run", tmp_path)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(f"mnist-lab train: {raw / TRAIN_LABELS}: 29,996")
    assert not (tmp_path / "run").exists()
    assert files(tmp_path) == before


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("dash", ["-", "."])
@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", "raw", ""])
def test_spellings_of_names_and_places(
    tmp_path: Path, mnist_files: Path, mnist_test: Split, packed: str, dash: str, place: str
) -> None:
    for name in MNIST_SHA256:
        other = name.replace("-idx", f"{dash}idx") + packed
        content = (mnist_files / name).read_bytes() if name in (IMAGES, LABELS) else b""
        put(tmp_path / place, other, gzip.compress(content, 1) if packed else content)
    before = files(tmp_path)
    assert load_split("mnist", False, tmp_path).sha256 == mnist_test.sha256
    assert files(tmp_path) == before


@pytest.mark.parametrize("place", ["FashionMNIST/raw", "FashionMNIST", "KMNIST/raw"])
def test_another_sets_folder_is_not_taken_for_it(
    tmp_path: Path, place: str, mnist_test: Split
) -> None:
    put(tmp_path / place, LABELS, b"of another set")
    assert load_split("mnist", False, tmp_path / place).sha256 == mnist_test.sha256


@pytest.mark.parametrize("count", [1, 17, 1_500])
def test_another_number_of_images(tmp_path: Path, count: int, mnist_train: Split) -> None:
    raw = tmp_path / "MNIST" / "raw"
    for names in ((TRAIN_IMAGES, TRAIN_LABELS), (IMAGES, LABELS)):
        put(raw, names[0], idx(mnist_train.images[:count, 0].numpy()))
        put(raw, names[1], idx(mnist_train.labels[:count].byte().numpy()))
    assert load_split("mnist", True, tmp_path).images.shape == (count, 1, 28, 28)
    with pytest.raises(ConfigError, match=rf"data.val_size={count}: .* less than the {count:,} "):
        MNISTDataModule(root=tmp_path, val_size=count).setup("fit")
    if count < 1_000:
        return
    options = f"data.root={tmp_path} data.val_size=200 hydra.run.dir={tmp_path / 'run'}"
    done = call(f"{TRAIN} {options} trainer.limit_test_batches=1.0", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert call("evaluate run", tmp_path).returncode == 0
    too_many = call(f"{TRAIN} data.root={tmp_path} hydra.run.dir=other", tmp_path)
    assert too_many.returncode == 2
    assert "data.val_size=5000: must be less than the 1,500 training images" in too_many.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "name", ["qmnist-train-labels-idx2-int", LABELS, "train-labels.idx1-ubyte"]
)
def test_half_a_set_of_ones_own_is_not_completed_by_mnist(tmp_path: Path, name: str) -> None:
    raw = tmp_path / "MNIST" / "raw"
    put(raw, name, idx(torch.arange(7).byte().numpy()))
    before = files(tmp_path)
    with pytest.raises(InputError, match=f"{TRAIN_IMAGES}: missing, beside {name}, which is not"):
        load_split("mnist", True, tmp_path)
    assert files(tmp_path) == before


def test_half_a_set_of_mnist_is_completed(root: Path, mnist_train: Split) -> None:
    raw = root / "MNIST" / "raw"
    (raw / TRAIN_LABELS).unlink()
    assert load_split("mnist", True, root).sha256 == mnist_train.sha256
    assert {path.name for path in raw.iterdir()} == {".lock", *MNIST_SHA256}


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("is_by_variable", [False, True])
def test_only_training_fills_a_folder(
    is_there: bool,
    is_by_variable: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mnist_test: Split,
) -> None:
    root, chosen = tmp_path / "root", None if is_by_variable else tmp_path / "root"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if is_there:
        root.mkdir()
    if is_by_variable:
        monkeypatch.setenv("MNIST_LAB_DATA", str(root))
    assert load_split("mnist", False, chosen, fills=False).sha256 == mnist_test.sha256
    assert root.exists() is is_there
    assert not any(tmp_path.glob("root/*"))
    assert (tmp_path / "cache" / "mnist_lab" / "MNIST" / "raw" / LABELS).exists()
    assert load_split("mnist", False, chosen).sha256 == mnist_test.sha256
    assert {p.name for p in (root / "MNIST" / "raw").iterdir()} == {".lock", IMAGES, LABELS}


@pytest.mark.thorough
def test_a_root_that_a_run_names_and_that_is_gone(root: Path, tmp_path: Path) -> None:
    assert call(f"{TRAIN} data.root={root} hydra.run.dir=run", tmp_path).returncode == 0
    shutil.rmtree(root)
    for command in ("evaluate run", "evaluate run data.root=nowhere", "verify run"):
        done = call(command, tmp_path)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_a_run_is_not_resumed_on_other_data(root: Path, tmp_path: Path) -> None:
    raw, manifest = root / "MNIST" / "raw", tmp_path / "run" / "manifest.json"
    command = f"{TRAIN} data.root={root} hydra.run.dir=run"
    assert call(command, tmp_path).returncode == 0
    manifest.write_text(manifest.read_text().replace('"finished"', '"interrupted"'))
    whole = (raw / TRAIN_LABELS).read_bytes()
    put(raw, TRAIN_LABELS, relabelled(whole))
    for line in ("resume run", command):
        done = call(line, tmp_path)
        assert done.returncode == 3
        assert "run: was started on data of other content; " in done.stderr
    put(raw, TRAIN_LABELS, whole)
    assert call("resume run", tmp_path).returncode == 0
