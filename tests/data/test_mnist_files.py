"""MNIST from the package, and its unpacked copy in the cache."""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from idx_damage import (
    IMAGES,
    LABELS,
    assert_same,
    cut,
    empty,
    flip_bit,
    flip_last_bit,
    label_of_99,
    only_header,
    swap,
    too_long,
    wrong_count,
    wrong_dimensions,
    wrong_magic,
    zeros,
)

from mnist_lab.data import mnist_files
from mnist_lab.data.mnist_files import MNIST_SHA256, Split, default_root, load_split
from mnist_lab.errors import InputError

PUBLISHED_MD5 = {  # as torchvision and the README of the packed files give them
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def cached(root: Path) -> Path:
    return root / "MNIST" / "raw"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lab's own folder in the user's cache, in which alone files are repaired."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mnist_lab"


def test_digits_are_the_published_ones(mnist_train: Split, mnist_test: Split) -> None:
    for split, count in ((mnist_train, 60_000), (mnist_test, 10_000)):
        assert split.images.shape == (count, 1, 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.labels.shape == (count,)
        assert split.labels.dtype == torch.int64
    assert mnist_train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist_test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # The mean and deviation that every tutorial normalizes with.
    shares = np.bincount(mnist_train.images.numpy().ravel(), minlength=256) / (60_000 * 784)
    grey = np.arange(256) / 255
    assert (mean := shares @ grey) == pytest.approx(0.1307, abs=5e-5)
    assert np.sqrt(shares @ (grey - mean) ** 2) == pytest.approx(0.3081, abs=5e-5)


@pytest.mark.parametrize("train", [True, False])
def test_cold_cache_is_filled_with_the_published_files(tmp_path: Path, train: bool) -> None:
    root = tmp_path / "not" / "yet" / "there"
    load_split("mnist", train, root)
    prefix = "train" if train else "t10k"
    names = [name for name in MNIST_SHA256 if name.startswith(prefix)]
    assert {path.name for path in cached(root).iterdir()} - {".lock"} == set(names)
    for name in names:
        content = (cached(root) / name).read_bytes()
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == PUBLISHED_MD5[name]
        assert hashlib.sha256(content).hexdigest() == MNIST_SHA256[name]


def test_hash_of_a_split_is_over_both_files(mnist_test: Split, mnist_files: Path) -> None:
    content = b"".join((mnist_files / name).read_bytes() for name in (IMAGES, LABELS))
    assert mnist_test.sha256 == hashlib.sha256(content).hexdigest()


def test_warm_cache_is_read_and_not_written(tmp_path: Path, mnist_test: Split) -> None:
    load_split("mnist", False, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in cached(tmp_path).iterdir()}
    assert_same(load_split("mnist", False, tmp_path), mnist_test)
    assert {path: path.stat().st_mtime_ns for path in cached(tmp_path).iterdir()} == before


def test_cached_files_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        load_split("mnist", False, tmp_path)
    finally:
        os.umask(old)
    assert stat.S_IMODE((cached(tmp_path) / LABELS).stat().st_mode) == 0o644


DAMAGE = [
    *(cut, flip_bit, flip_last_bit, zeros, empty, label_of_99),
    *(wrong_magic, wrong_dimensions, wrong_count, too_long, only_header),
]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_damaged_cached_file_is_repaired(
    own: Path, mnist_test: Split, name: str, damage: Callable[[bytes], bytes]
) -> None:
    load_split("mnist", False, own)
    path = cached(own) / name
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match=rf"{name} was corrupt and has been unpacked again"):
        assert_same(load_split("mnist", False, own), mnist_test)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("other", [LABELS, "train-images-idx3-ubyte"])
def test_swapped_files_are_repaired(
    own: Path, mnist_files: Path, mnist_test: Split, other: str
) -> None:
    """Images for labels, and the training images for the test images."""
    shutil.copytree(mnist_files, cached(own))
    swap(cached(own) / IMAGES, cached(own) / other)
    with pytest.warns(UserWarning, match="was corrupt") as caught:
        assert_same(load_split("mnist", False, own), mnist_test)
    assert len(caught) == (2 if other == LABELS else 1)


def test_what_a_killed_process_left_is_cleared(own: Path, mnist_test: Split) -> None:
    cached(own).mkdir(parents=True)
    (cached(own) / f".{IMAGES}.partial").write_bytes(b"half of it")
    assert_same(load_split("mnist", False, own), mnist_test)
    assert {path.name for path in cached(own).iterdir()} == {".lock", IMAGES, LABELS}


def test_failed_write_leaves_nothing_and_falls_back(
    tmp_path: Path, mnist_test: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match=r"cannot be written \(No space left on device\)"):
        assert_same(load_split("mnist", False, tmp_path), mnist_test)
    assert {path.name for path in cached(tmp_path).iterdir()} == {".lock"}


def test_unwritable_root_falls_back_to_memory(tmp_path: Path, mnist_test: Split) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(UserWarning, match=r"cannot be written \(.+\); MNIST is unpacked in memory"):
        assert_same(load_split("mnist", False, tmp_path / "file" / "below"), mnist_test)


def test_folder_in_place_of_a_cached_file_falls_back(own: Path, mnist_test: Split) -> None:
    (cached(own) / LABELS).mkdir(parents=True)
    with pytest.warns(UserWarning, match="cannot be written") as caught:
        assert_same(load_split("mnist", False, own), mnist_test)
    assert len(caught) == 1  # and none that says it was repaired


def test_lock_that_is_never_freed_does_not_hang(
    tmp_path: Path, mnist_test: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(tmp_path).mkdir(parents=True)
    monkeypatch.setattr(mnist_files, "_LOCK_SECONDS", 0.1)
    with (
        mnist_files.FileLock(cached(tmp_path) / ".lock"),
        pytest.warns(UserWarning, match="unpacked in memory"),
    ):
        assert_same(load_split("mnist", False, tmp_path), mnist_test)


@pytest.mark.parametrize("damage", [cut, zeros, None])
def test_damaged_package_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes] | None
) -> None:
    packed = tmp_path / "packed"
    shutil.copytree(mnist_files.PACKED, packed)
    file = packed / f"{LABELS}.xz"
    if damage:
        file.write_bytes(damage(file.read_bytes()))
    else:
        file.unlink()
    monkeypatch.setattr(mnist_files, "PACKED", packed)
    with pytest.raises(InputError, match=rf"{LABELS}\.xz: .*reinstall mnist_lab"):
        load_split("mnist", False, tmp_path / "cache")


RACE = """
import multiprocessing, sys
from pathlib import Path
from mnist_lab.data.mnist_files import load_split

processes, rounds = map(int, sys.argv[2:])

def load(root):
    start.wait()
    return [load_split("mnist", train, root).sha256 for train in (True, False)]

context = multiprocessing.get_context("fork")
start = context.Barrier(processes)
with context.Pool(processes) as pool:
    for number in range(rounds):
        for hashes in pool.map(load, [Path(sys.argv[1], str(number))] * processes, chunksize=1):
            print(*hashes)
"""


# In each round the cache is cold again. Twenty take half a minute.
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("processes", "rounds"), [(8, 1), pytest.param(2, 20, marks=pytest.mark.slow)]
)
def test_processes_race_on_a_cold_cache(
    tmp_path: Path, mnist_train: Split, mnist_test: Split, processes: int, rounds: int
) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path), str(processes), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    whole = f"{mnist_train.sha256} {mnist_test.sha256}"
    assert done.stdout.splitlines() == [whole] * processes * rounds
    assert "corrupt" not in done.stderr
    assert "in memory" not in done.stderr
    for number in range(rounds):
        left = {path.name for path in cached(tmp_path / str(number)).iterdir()}
        assert left == {".lock", *MNIST_SHA256}


# --- where the sets lie


def test_default_root_is_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("MNIST_LAB_DATA", "/chosen")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert default_root() == Path("/chosen")
    monkeypatch.setenv("MNIST_LAB_DATA", "~/chosen")
    assert default_root() == Path("/home/somebody/chosen")
    monkeypatch.delenv("MNIST_LAB_DATA")
    assert default_root() == Path("/cache/mnist_lab")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_root() == Path("/home/somebody/.cache/mnist_lab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_root() == Path("/home/somebody/.cache/mnist_lab")


def test_load_without_root_uses_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_LAB_DATA", str(tmp_path))
    load_split("mnist", False)
    assert (cached(tmp_path) / LABELS).exists()


def test_root_with_too_long_a_name_falls_back_to_memory(mnist_test: Split) -> None:
    with pytest.warns(UserWarning, match="File name too long"):
        split = load_split("mnist", train=False, root=Path(300 * "x"))
    assert split.sha256 == mnist_test.sha256
