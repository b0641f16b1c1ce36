"""The folder that a set's four files are in, and their names there."""

from pathlib import Path

import pytest

from mnist_lab.data.sets import TEST_FILES, TRAIN_FILES, find_file, folder_of, has_set

NAMES = TRAIN_FILES + TEST_FILES


@pytest.mark.parametrize("place", ["KMNIST/raw", "KMNIST", "raw", "."])
def test_a_set_is_found_below_its_root_and_in_it(place: str, tmp_path: Path) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        assert not has_set(tmp_path, "kmnist")
        (folder / name.replace("-idx", ".idx")).touch()
    assert has_set(tmp_path, "kmnist")
    assert folder_of(tmp_path, "kmnist") == folder
    assert find_file(folder, NAMES[0]) == folder / "train-images.idx3-ubyte"


def test_the_usual_place_comes_first(tmp_path: Path) -> None:
    assert folder_of(tmp_path, "mnist") == tmp_path / "MNIST" / "raw"
    for folder in (tmp_path, tmp_path / "MNIST" / "raw"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{NAMES[0]}.gz").touch()
        assert folder_of(tmp_path, "mnist") == folder


def test_another_sets_folder_is_not_taken_for_it(tmp_path: Path) -> None:
    root = tmp_path / "FashionMNIST" / "raw"
    root.mkdir(parents=True)
    (root / NAMES[0]).touch()
    assert folder_of(root, "mnist") == root / "MNIST" / "raw"
    assert folder_of(root, "fashion_mnist") == root
