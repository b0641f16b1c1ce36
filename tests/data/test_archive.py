import gzip
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from mnist_lab.data import archive
from mnist_lab.data.archive import MNIST_SHA256, Split, default_root, load_split
from mnist_lab.errors import InputError

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
PUBLISHED_MD5 = {  # as torchvision and the README of the packed files give them
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def cached(root: Path) -> Path:
    return root / "MNIST" / "raw"


def assert_same(one: Split, other: Split) -> None:
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)
    assert one.sha256 == other.sha256


# --- MNIST, from the package


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


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def zeros(content: bytes) -> bytes:
    return bytes(len(content))


def empty(content: bytes) -> bytes:
    return content[:0]


@pytest.mark.parametrize("damage", [cut, flip_bit, zeros, empty])
@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_damaged_cached_file_is_repaired(
    tmp_path: Path, mnist_test: Split, name: str, damage: Callable[[bytes], bytes]
) -> None:
    load_split("mnist", False, tmp_path)
    path = cached(tmp_path) / name
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match=rf"{name} was damaged and has been unpacked again"):
        assert_same(load_split("mnist", False, tmp_path), mnist_test)
    assert path.read_bytes() == whole


def test_swapped_images_and_labels_are_repaired(tmp_path: Path, mnist_test: Split) -> None:
    load_split("mnist", False, tmp_path)
    images, labels = cached(tmp_path) / IMAGES, cached(tmp_path) / LABELS
    images.rename(tmp_path / "aside")
    labels.rename(images)
    (tmp_path / "aside").rename(labels)
    with pytest.warns(UserWarning, match="was damaged") as caught:
        assert_same(load_split("mnist", False, tmp_path), mnist_test)
    assert len(caught) == 2


def test_what_a_killed_process_left_is_cleared(tmp_path: Path, mnist_test: Split) -> None:
    cached(tmp_path).mkdir(parents=True)
    (cached(tmp_path) / f".{IMAGES}.partial").write_bytes(b"half of it")
    assert_same(load_split("mnist", False, tmp_path), mnist_test)
    assert {path.name for path in cached(tmp_path).iterdir()} == {".lock", IMAGES, LABELS}


def test_failed_write_leaves_nothing_and_falls_back(
    tmp_path: Path, mnist_test: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match=r"cannot be written \(No space left on device\)"):
        assert_same(load_split("mnist", False, tmp_path), mnist_test)
    assert {path.name for path in cached(tmp_path).iterdir()} == {".lock"}


def test_unwritable_root_falls_back_to_memory(tmp_path: Path, mnist_test: Split) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(UserWarning, match=r"cannot be written \(.+\); MNIST is unpacked in memory"):
        assert_same(load_split("mnist", False, tmp_path / "file" / "below"), mnist_test)


def test_folder_in_place_of_a_cached_file_falls_back(tmp_path: Path, mnist_test: Split) -> None:
    (cached(tmp_path) / LABELS).mkdir(parents=True)
    with pytest.warns(UserWarning, match="cannot be written") as caught:
        assert_same(load_split("mnist", False, tmp_path), mnist_test)
    assert len(caught) == 1  # and none that says it was repaired


def test_lock_that_is_never_freed_does_not_hang(
    tmp_path: Path, mnist_test: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(tmp_path).mkdir(parents=True)
    monkeypatch.setattr(archive, "_LOCK_SECONDS", 0.1)
    with (
        archive.FileLock(cached(tmp_path) / ".lock"),
        pytest.warns(UserWarning, match="unpacked in memory"),
    ):
        assert_same(load_split("mnist", False, tmp_path), mnist_test)


@pytest.mark.parametrize("damage", [cut, zeros, None])
def test_damaged_package_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes] | None
) -> None:
    packed = tmp_path / "packed"
    shutil.copytree(archive.PACKED, packed)
    file = packed / f"{LABELS}.xz"
    if damage:
        file.write_bytes(damage(file.read_bytes()))
    else:
        file.unlink()
    monkeypatch.setattr(archive, "PACKED", packed)
    with pytest.raises(InputError, match=rf"{LABELS}\.xz .*reinstall mnist_lab"):
        load_split("mnist", False, tmp_path / "cache")


RACE = """
import multiprocessing, sys
from pathlib import Path
from mnist_lab.data.archive import load_split

def load(number):
    start.wait()
    return [load_split("mnist", train, Path(sys.argv[1])).sha256 for train in (True, False)]

context = multiprocessing.get_context("fork")
start = context.Barrier(8)
with context.Pool(8) as pool:
    for hashes in pool.map(load, range(8), chunksize=1):
        print(*hashes)
"""


def test_eight_processes_race_on_a_cold_cache(
    tmp_path: Path, mnist_train: Split, mnist_test: Split
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RACE, str(tmp_path)], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.splitlines() == [f"{mnist_train.sha256} {mnist_test.sha256}"] * 8
    assert "damaged" not in done.stderr
    assert "in memory" not in done.stderr
    assert {path.name for path in cached(tmp_path).iterdir()} == {".lock", *MNIST_SHA256}


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


# --- sets that are not in the package: files that lie there already


@pytest.fixture
def fashion(tmp_path: Path, mnist_files: Path) -> Path:
    """The raw folder of a Fashion-MNIST whose files are MNIST's own bytes."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in MNIST_SHA256:
        os.link(mnist_files / name, raw / name)
    return raw


def put(path: Path, content: bytes) -> None:
    """Write a new file instead of a link to the cached one."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("dataset", "folder"), [("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_files_that_lie_there_are_read(
    fashion: Path, dataset: str, folder: str, mnist_train: Split, mnist_test: Split
) -> None:
    root = fashion.parent.parent
    fashion.parent.rename(root / folder)
    assert_same(load_split(dataset, True, root), mnist_train)
    assert_same(load_split(dataset, False, root), mnist_test)


def test_gzipped_files_that_lie_there_are_read(fashion: Path, mnist_test: Split) -> None:
    for name in (IMAGES, LABELS):
        put(fashion / f"{name}.gz", gzip.compress((fashion / name).read_bytes(), 1))
        (fashion / name).unlink()
    assert_same(load_split("fashion_mnist", False, fashion.parents[1]), mnist_test)


def wrong_magic(content: bytes) -> bytes:
    return content[:2] + b"\x0d" + content[3:]  # 32-bit floats


def wrong_dimensions(content: bytes) -> bytes:
    return content[:8] + (56).to_bytes(4, "big") + (14).to_bytes(4, "big") + content[16:]


def wrong_count(content: bytes) -> bytes:
    return content[:4] + (9_999).to_bytes(4, "big") + content[8:]


def too_long(content: bytes) -> bytes:
    return content + b"\0"


def only_header(content: bytes) -> bytes:
    return content[:6]


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        (IMAGES, cut, r"3,919,992 values found, 7,840,000 required"),
        (IMAGES, wrong_magic, r"not an IDX file of uint8 with 3 dimensions"),
        (
            IMAGES,
            wrong_dimensions,
            r"dimensions \(10000, 56, 14\) found, \(10000, 28, 28\) required",
        ),
        (IMAGES, wrong_count, r"dimensions \(9999, 28, 28\) found, \(10000, 28, 28\) required"),
        (IMAGES, too_long, r"7,840,001 values found, 7,840,000 required"),
        (IMAGES, only_header, r"dimensions \(.*\) found, \(10000, 28, 28\) required"),
        (IMAGES, zeros, r"not an IDX file"),
        (IMAGES, empty, r"not an IDX file"),
        (LABELS, cut, r"4,996 values found, 10,000 required"),
        (LABELS, wrong_magic, r"not an IDX file of uint8 with 1 dimensions"),
        (LABELS, wrong_count, r"dimensions \(9999,\) found, \(10000,\) required"),
        (LABELS, zeros, r"not an IDX file"),
        (LABELS, empty, r"not an IDX file"),
    ],
)
def test_damaged_file_is_named_with_the_reason(
    fashion: Path, name: str, damage: Callable[[bytes], bytes], reason: str
) -> None:
    put(fashion / name, damage((fashion / name).read_bytes()))
    with pytest.raises(InputError, match=rf"{re.escape(str(fashion / name))}: {reason}") as caught:
        load_split("fashion_mnist", False, fashion.parents[1])
    assert "\n" not in str(caught.value)


def test_half_of_the_labels_is_refused(fashion: Path) -> None:
    name = "train-labels-idx1-ubyte"
    labels = (fashion / name).read_bytes()
    put(fashion / name, labels[:4] + (30_000).to_bytes(4, "big") + labels[8 : 8 + 30_000])
    with pytest.raises(InputError, match=rf"{name}: dimensions \(30000,\) found, \(60000,\)"):
        load_split("fashion_mnist", True, fashion.parents[1])


def test_label_above_nine_is_refused(fashion: Path) -> None:
    labels = (fashion / LABELS).read_bytes()
    put(fashion / LABELS, labels[:100] + b"\x63" + labels[101:])
    with pytest.raises(InputError, match=rf"{LABELS}: label 99 found, 0 to 9 required"):
        load_split("fashion_mnist", False, fashion.parents[1])


def test_images_given_for_labels_are_refused(fashion: Path) -> None:
    put(fashion / LABELS, (fashion / IMAGES).read_bytes())
    with pytest.raises(InputError, match=rf"{LABELS}: not an IDX file of uint8 with 1 dim"):
        load_split("fashion_mnist", False, fashion.parents[1])


def test_folder_in_place_of_a_file_is_refused(fashion: Path) -> None:
    (fashion / LABELS).unlink()
    (fashion / LABELS).mkdir()
    with pytest.raises(InputError, match=rf"{LABELS}: cannot be read: Is a directory"):
        load_split("fashion_mnist", False, fashion.parents[1])


@pytest.mark.parametrize("damage", [cut, zeros, empty, flip_bit])
def test_damaged_gzip_is_refused(fashion: Path, damage: Callable[[bytes], bytes]) -> None:
    packed = gzip.compress((fashion / LABELS).read_bytes())
    (fashion / LABELS).unlink()
    put(fashion / f"{LABELS}.gz", damage(packed))
    with pytest.raises(InputError, match=rf"{LABELS}(\.gz)?: ") as caught:
        load_split("fashion_mnist", False, fashion.parents[1])
    assert "\n" not in str(caught.value)


@contextmanager
def nobody() -> Iterator[None]:
    """Give up root's right to read everything, where the tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="POSIX permissions")
@pytest.mark.parametrize("locked", ["file", "folder"])
def test_no_permission_is_said(mnist_files: Path, locked: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to nobody
        os.chmod(folder, 0o755)
        raw = Path(folder) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for name in (IMAGES, LABELS):
            shutil.copyfile(mnist_files / name, raw / name)
        (raw / IMAGES if locked == "file" else raw).chmod(0)
        with (
            nobody(),
            pytest.raises(InputError, match=rf"{IMAGES}: cannot be read: Permission denied"),
        ):
            load_split("fashion_mnist", False, Path(folder))
        raw.chmod(0o755)


# --- sets that are not in the package: downloads


class Server(ThreadingHTTPServer):
    """Stands in for the mirrors on this machine."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.asked: list[str] = []

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        _, behaviour, name = self.path.split("/")
        content = self.server.files[name]
        if behaviour == "silent":
            time.sleep(1)
            return
        if behaviour == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if behaviour == "broken":
            content = content[: len(content) // 2]
        elif behaviour == "other":
            content = bytes(len(content))
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(mnist_files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    files = {
        f"{name}.gz": gzip.compress((mnist_files / name).read_bytes(), 1)
        for name in (IMAGES, LABELS)
    }
    md5 = [(n, hashlib.md5(c, usedforsecurity=False).hexdigest()) for n, c in files.items()]
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", md5)
    monkeypatch.setattr(archive, "_NETWORK_SECONDS", 0.3)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(files) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def use_mirrors(monkeypatch: pytest.MonkeyPatch, *mirrors: str) -> None:
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", list(mirrors))


def test_missing_set_is_downloaded_once(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, mnist_test: Split
) -> None:
    use_mirrors(monkeypatch, server.url("missing"), server.url("good"))
    for _ in range(2):
        assert_same(load_split("fashion_mnist", False, tmp_path), mnist_test)
    assert [path for path in server.asked if "good" in path] == [
        f"/good/{IMAGES}.gz",
        f"/good/{LABELS}.gz",
    ]
    raw = tmp_path / "FashionMNIST" / "raw"
    assert {path.name for path in raw.iterdir()} == {".lock", IMAGES, LABELS}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("missing", "HTTP Error 404: Not Found"),
        ("silent", "timed out"),
        ("broken", "IncompleteRead.*"),
        ("other", "is not the published file"),
    ],
)
def test_failed_download_is_one_line_and_leaves_nothing(
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    mnist_test: Split,
    behaviour: str,
    reason: str,
) -> None:
    use_mirrors(monkeypatch, server.url(behaviour))
    raw = tmp_path / "FashionMNIST" / "raw"
    with pytest.raises(
        InputError,
        match=rf"{IMAGES} is missing and could not be downloaded \(.*{reason}\); "
        rf"put the four IDX files of FashionMNIST, gzipped or not, into {re.escape(str(raw))}$",
    ) as caught:
        load_split("fashion_mnist", False, tmp_path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert {path.name for path in raw.iterdir()} == {".lock"}
    use_mirrors(monkeypatch, server.url("good"))
    assert_same(load_split("fashion_mnist", False, tmp_path), mnist_test)


def test_no_network_fails_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.KMNIST, "mirrors", ["http://nowhere.invalid/"])
    start = time.monotonic()
    with pytest.raises(InputError, match="could not be downloaded"):
        load_split("kmnist", True, tmp_path)
    assert time.monotonic() - start < 5


def test_missing_set_below_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="Not a directory"):
        load_split("kmnist", True, tmp_path / "file")
