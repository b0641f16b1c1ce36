"""A folder of images, and a file of arrays, as data of one's own."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from own_images import write_csv, write_folder
from PIL import Image

from mnist_lab import compose
from mnist_lab.data import MNISTDataModule
from mnist_lab.data.mnist_files import Split
from mnist_lab.data.own_sets import ImageFolder
from mnist_lab.errors import ConfigError, InputError
from mnist_lab.files.images import as_input


def module(dataset: str, root: Path, **options: Any) -> MNISTDataModule:
    return MNISTDataModule(dataset, root, **{"val_size": None, **options})


# --- a folder of images


def test_a_folder_a_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 20, "dog": 10, ".hidden": 3})
    data = module("folder", tmp_path)
    train, test = data.split(train=True), data.split(train=False)
    assert data.class_names == ("cat", "dog")
    assert test.labels.bincount().tolist() == [4, 2]  # a fifth of each
    assert train.labels.bincount().tolist() == [16, 8]
    assert data.val_size == 2
    assert set(train.labels[:8].tolist()) == {0, 1}  # not one class after the other
    assert train.images.shape == (24, 1, 28, 28)
    again = module("folder", tmp_path)
    assert (train.sha256, test.sha256) == (again.split(True).sha256, again.split(False).sha256)


def test_train_and_test_of_ones_own(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"a": 3, "b": 3, "c": 3})
    write_folder(tmp_path / "test", {"c": 2})
    data = module("folder", tmp_path)
    assert data.split(train=False).labels.tolist() == [2, 2]
    assert sorted(data.split(train=True).labels.tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_val_of_ones_own_validates(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"a": 9, "b": 9, "c": 9})
    write_folder(tmp_path / "val", {"a": 2, "c": 1})
    write_folder(tmp_path / "test", {"c": 2})
    data = module("folder", tmp_path)
    (_, labels), *_ = data.val_dataloader()
    assert sorted(labels.tolist()) == [0, 0, 2]
    assert data.val_size == 3
    trained = torch.cat([labels for _, labels in data.train_dataloader()])
    assert trained.bincount().tolist() == [9, 9, 9]
    images = data.split(train=True).images[:3]
    validated = {image.numpy().tobytes() for image in images}
    paths = [tmp_path / "val" / name for name in ("a/0.png", "a/1.png", "c/0.png")]
    assert validated == {as_input(Image.open(path)).tobytes() for path in paths}
    typed = module("folder", tmp_path, val_size=5)
    assert len(next(iter(typed.val_dataloader()))[1]) == 5
    folds = module("folder", tmp_path, folds=3, fold=0)
    assert folds.val_size == 10  # a third of all 30


@pytest.mark.parametrize("part", ["val", "test"])
def test_parts_have_the_classes_of_train(part: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"a": 3, "b": 3})
    write_folder(tmp_path / "test", {"a": 3})
    (tmp_path / part / "d").mkdir(parents=True)
    with pytest.raises(InputError, match=rf"{part}/d: no class of this name in .*train"):
        module("folder", tmp_path).split(train=True)
    (tmp_path / part / "d").rename(tmp_path / part / ".d")
    if part == "test":
        shutil.rmtree(tmp_path / "test" / "a")
    with pytest.raises(InputError, match=rf"{part}: has no folders of classes, as .*train has"):
        module("folder", tmp_path).split(train=True)


def test_folders_beside_a_classs_images_belong_to_it(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 3, "cat/more": 2, "dog": 5})
    data = module("folder", tmp_path)
    assert sum(data.split(part).labels.bincount() for part in (True, False)).tolist() == [5, 5]


def test_images_of_mnists_form_are_left_as_they_are(tmp_path: Path, mnist_test: Split) -> None:
    for label in range(2):
        (tmp_path / str(label)).mkdir()
        for number, image in enumerate(mnist_test.images[mnist_test.labels == label][:2]):
            Image.fromarray(image[0].numpy()).save(tmp_path / str(label) / f"{number}.png")
    test = module("folder", tmp_path).split(train=False)
    for image, label in zip(test.images, test.labels, strict=True):
        given = mnist_test.images[mnist_test.labels == label][:2]
        assert (given == image).all(dim=(1, 2, 3)).sum() == 1


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK", "I;16"])
def test_images_of_every_kind(tmp_path: Path, mode: str) -> None:
    for name, level in (("dark", 20), ("light", 235)):
        (tmp_path / name).mkdir()
        grey = Image.new("L", (50, 70), level)
        image = (
            grey.convert("P" if mode == "P" else mode)
            if mode != "I;16"
            else Image.fromarray(np.full((70, 50), level * 257, np.uint16))
        )
        suffix = "tif" if mode in ("CMYK", "I;16") else "png"
        for number in range(2):
            image.save(tmp_path / name / f"{number}.{suffix}")
    test = module("folder", tmp_path).split(train=False)
    dark, light = test.images.float().mean(dim=(1, 2, 3))
    assert dark < 60 < 200 < light


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({}, r": 0 folders found, one for each class; 2 to 1,000 are required"),
        ({"cat": 3}, r": 1 folder found, one for each class; 2 to 1,000 are required"),
        ({"cat": 3, "dog": 0}, r"/dog: no image that can be read in this folder"),
        ({"cat": 1, "dog": 1}, r": no class has two images"),
        ({"train/a": 2, "train/b": 2, "test/c": 1}, r"/test/c: no class of this name in .*/train"),
        ({"train/a": 2, "train/b": 2, "val/a": 2, "val/b": 2}, r"/train: there is no .*/test"),
        ({"train": 2, "test1": 2}, r"/train: there is no .*/test beside it; name the folder of"),
        ({"train/a": 2, "train/b": 2}, r"/train: there is no .*; .* choose data\.root=.*/train"),
        (
            {"training/a": 2, "training/b": 2, "valid/a": 2},
            r"/training: has no images but folders of them; a folder of images for each class is",
        ),
        (
            {"train/x/a": 2, "train/y/a": 2, "test/x/a": 2, "test/y/a": 2},
            r"/train/x: has no images but folders of them; .* is required in .*/train, or train",
        ),
    ],
)
def test_a_folder_that_is_no_set(counts: Mapping[str, int], reason: str, tmp_path: Path) -> None:
    write_folder(tmp_path, counts)
    with pytest.raises(InputError, match=f"^{tmp_path}{reason}"):
        module("folder", tmp_path).split(train=True)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 3, "dog": 3})
    for path in (tmp_path / "dog").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=rf"^{tmp_path}/dog/\d\.png: corrupt"):
        module("folder", tmp_path).split(train=True)


@pytest.mark.parametrize("dataset", ["folder", "arrays"])
def test_its_place_must_be_there(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{tmp_path}/none: .*[Nn]o such file"):
        module(dataset, tmp_path / "none").split(train=True)
    with pytest.raises(ConfigError, match=rf"^data\.root: must be set: the .* of data={dataset}"):
        MNISTDataModule(dataset)


def test_too_large_a_validation_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "dog": 5})
    with pytest.raises(ConfigError, match=r"data\.val_size=5000: must be less than the 8 training"):
        MNISTDataModule("folder", tmp_path, val_size=5_000).split(train=True)


# --- a file of arrays


def arrays(**changes: Any) -> dict[str, Any]:
    """Return what a file has, with changes; None leaves an array out."""
    images = np.arange(20 * 784, dtype=np.uint32).reshape(20, 28, 28) % 251
    content = {"images": images.astype(np.uint8), "labels": np.arange(20) % 4, **changes}
    return {name: array for name, array in content.items() if array is not None}


def test_images_and_labels(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "set.npz", **arrays())
    data = module("arrays", tmp_path / "set.npz")
    train, test = data.split(train=True), data.split(train=False)
    assert data.class_names == ("0", "1", "2", "3")
    assert test.labels.bincount().tolist() == [1, 1, 1, 1]
    both = torch.cat([train.images, test.images])[:, 0].numpy()
    assert sorted(map(bytes, both)) == sorted(map(bytes, arrays()["images"]))
    assert data.val_size == 1


def test_keras_names(tmp_path: Path, mnist_test: Split) -> None:
    images, labels = mnist_test.images[:30, 0].numpy(), mnist_test.labels[:30].numpy()
    np.savez(
        tmp_path / "mnist.npz",
        **{"x_train": images[:20], "y_train": labels[:20].astype(np.uint8)},
        **{"x_test": images[20:], "y_test": labels[20:].astype(np.uint8)},
    )
    data = module("arrays", tmp_path / "mnist.npz")
    assert torch.equal(data.split(train=True).images, mnist_test.images[:20])
    assert torch.equal(data.split(train=False).labels, mnist_test.labels[20:30])


@pytest.mark.filterwarnings(r"ignore:hydra.utils.instantiate\(\) resolved:UserWarning")
def test_python_keeps_the_images_that_the_command_keeps(tmp_path: Path) -> None:
    path, content = tmp_path / "sorted.npz", arrays()
    parts = {"x_train": "images", "y_train": "labels", "x_test": "images", "y_test": "labels"}
    np.savez(path, **{name: content[key] for name, key in parts.items()})
    command = instantiate(compose(["data=arrays", f"data.root={path}"]).data)
    kept = [data.positions_of(None, True).tolist() for data in (command, module("arrays", path))]
    assert kept[0] == kept[1] != [0, 1]
    assert module("arrays", path, split_seed=None).positions_of(None, True).tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(-1, 784), (-1, 1, 28, 28), (-1, 28, 28, 1)])
def test_other_shapes_and_types_of_the_same(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    np.savez(tmp_path / "b.npz", **arrays(images=arrays()["images"].reshape(shape).astype(int)))
    first, other = (module("arrays", tmp_path / f"{name}.npz").split(True) for name in "ab")
    assert first.sha256 == other.sha256


def test_names_of_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", **arrays(class_names=np.array([*"wxyz", "never\n"])))
    assert module("arrays", tmp_path / "set.npz").class_names == (*"wxyz", "never\\n")


def test_a_csv_of_kaggles(tmp_path: Path) -> None:
    content = arrays()
    np.savez(tmp_path / "set.npz", **content)
    write_csv(tmp_path / "train.csv", content["images"], content["labels"])
    first, other = (module("arrays", tmp_path / name) for name in ("set.npz", "train.csv"))
    for train in (True, False):
        assert first.split(train).sha256 == other.split(train).sha256


def test_a_csv_with_a_byte_order_mark_is_the_same_set(tmp_path: Path) -> None:
    content, path = arrays(), tmp_path / "excel.csv"
    write_csv(path, content["images"], content["labels"])
    before = module("arrays", path).split(train=True)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert module("arrays", path).split(train=True).sha256 == before.sha256


X = np.zeros((20, 28, 28), np.uint8)
Y = np.arange(20) % 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (arrays(images=X[:, :20]), r"images: uint8 \(20, 20, 28\) found; \(N, 28, 28\) of whole"),
        (arrays(images=X / 255), r"images: float64 \(20, 28, 28\) found; \(N, 28, 28\) of whole"),
        (
            arrays(images=X.astype(int) + 256),
            r"images: \w+ \(20, 28, 28\) found; \(N, 28, 28\) of whole",
        ),
        (arrays(images=X[:0], labels=Y[:0]), r"images: uint8 \(0, 28, 28\) found"),
        (arrays(images=np.full((20, 28, 28), None)), "not an .npz file of numbers: Object arrays"),
        (arrays(labels=Y[:19]), r"labels: int64 \(19,\) found; \(20,\) of whole numbers"),
        (arrays(labels=Y - 1), "labels: labels from -1 to 2 found; 0 to 999 at most"),
        (arrays(labels=Y + 1000), "labels: labels from 1000 to 1003 found; 0 to 999 at most"),
        (arrays(labels=0 * Y), "1 class found; 2 to 1,000 are required"),
        (arrays(class_names=np.array(["a", "b"])), "2 classes found; 4 to 1,000 are required"),
        (arrays(class_names=Y[:4]), "class_names: must be a list of at most 1,000 texts"),
        (
            arrays(labels=None),
            "images found; images and labels, or x_train, y_train, x_test, y_test",
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1},
            "y_test: label 4 found, 0 to 3 required",
        ),
    ],
)
def test_an_npz_that_is_no_set(content: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **content)
    with pytest.raises(InputError, match=f"^{path}: {reason}") as caught:
        module("arrays", path).split(train=True)
    assert "\n" not in str(caught.value)


def _cut(lines: list[str]) -> None:
    lines[7] = lines[7][:50]


def _word(lines: list[str]) -> None:
    lines[7] = lines[7].replace(",", ",x", 1)


def _too_high(lines: list[str]) -> None:
    lines[7] += "9999"


def _no_labels(lines: list[str]) -> None:
    lines[0] = lines[0].removeprefix("label,")


def _no_lines(lines: list[str]) -> None:
    del lines[1:]


def _a_column_less(lines: list[str]) -> None:
    lines[:] = [line.rpartition(",")[0] for line in lines]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_cut, r"the number of columns changed from 785 to \d+ at row 7"),
        (_word, r"could not convert string 'x\d+' to uint8 at row 6, column 2"),
        (_too_high, r"could not convert string '\d+9999' to uint8 at row 6, column 785"),
        (_no_labels, r"label,pixel0,...,pixel783 is required as the first line"),
        (_no_lines, r"label,pixel0,...,pixel783 is required as the first line"),
        (_a_column_less, r"784 values a line found, 785 required"),
    ],
)
def test_a_csv_that_is_no_set(
    damage: Callable[[list[str]], None], reason: str, tmp_path: Path
) -> None:
    path, content = tmp_path / "train.csv", arrays()
    write_csv(path, content["images"], content["labels"])
    lines = path.read_text().splitlines()
    damage(lines)
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=f"^{path}: {reason}") as caught:
        module("arrays", path).split(train=True)
    assert "\n" not in str(caught.value)


def test_a_folder_with_too_long_a_name_is_one_line() -> None:
    with pytest.raises(InputError, match="File name too long"):
        ImageFolder(Path(300 * "x"))
