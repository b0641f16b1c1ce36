"""Sets that are not in the package: their files as they lie there, or downloaded."""

import gzip
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request

import pytest
from idx_damage import (
    IMAGES,
    LABELS,
    assert_same,
    cut,
    empty,
    flip_bit,
    label_of_99,
    only_header,
    swap,
    too_long,
    wrong_count,
    wrong_dimensions,
    wrong_magic,
    zeros,
)
from measuring import CAN_MEASURE, measured
from torchvision.datasets import KMNIST, FashionMNIST

from mnist_lab.data.mnist_files import MNIST_SHA256, Split, download, load_split
from mnist_lab.data.sets import SETS
from mnist_lab.errors import InputError

# --- files that lie there already


@pytest.fixture
def fashion(tmp_path: Path, mnist_files: Path) -> Path:
    """The raw folder of a Fashion-MNIST whose files are MNIST's own bytes."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in MNIST_SHA256:
        os.link(mnist_files / name, raw / name)
    return raw


def put(path: Path, content: bytes | bytearray) -> None:
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


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        (IMAGES, cut, r"3,919,992 values found, 7,840,000 required"),
        (IMAGES, wrong_magic, r"not an IDX file of uint8 with 3 dimensions"),
        (
            IMAGES,
            wrong_dimensions,
            r"dimensions \(10000, 56, 14\) found, \(at least 1, 28, 28\) required",
        ),
        (IMAGES, wrong_count, r"7,840,000 values found, 7,839,216 required"),
        (IMAGES, too_long, r"7,840,001 values found, 7,840,000 required"),
        (IMAGES, only_header, r"dimensions \(.*\) found, \(at least 1, 28, 28\) required"),
        (IMAGES, zeros, r"not an IDX file"),
        (IMAGES, empty, r"not an IDX file"),
        (LABELS, cut, r"4,996 values found, 10,000 required"),
        (LABELS, wrong_magic, r"not an IDX file of uint8 with 1 dimensions"),
        (LABELS, wrong_count, r"10,000 values found, 9,999 required"),
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
    with pytest.raises(InputError, match=rf"{name}: 30,000 labels for the 60,000 of"):
        load_split("fashion_mnist", True, fashion.parents[1])


def test_label_above_nine_is_refused(fashion: Path) -> None:
    put(fashion / LABELS, label_of_99((fashion / LABELS).read_bytes()))
    with pytest.raises(InputError, match=rf"{LABELS}: label 99 found, 0 to 9 required"):
        load_split("fashion_mnist", False, fashion.parents[1])


@pytest.mark.parametrize("place", range(16))
def test_a_flipped_bit_in_the_header_is_refused(fashion: Path, place: int) -> None:
    content = bytearray((fashion / IMAGES).read_bytes())
    content[place] ^= 1
    put(fashion / IMAGES, content)
    with pytest.raises(InputError, match=rf"{IMAGES}: (not an IDX file|dimensions|7,840,000 val)"):
        load_split("fashion_mnist", False, fashion.parents[1])


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (IMAGES, LABELS, rf"{IMAGES}: not an IDX file of uint8 with 3 dimensions"),
        (
            IMAGES,
            "train-images-idx3-ubyte",
            r": 10,000 labels for the 60,000 of",
        ),
        (
            LABELS,
            "train-labels-idx1-ubyte",
            r": 60,000 labels for the 10,000 of",
        ),
        (LABELS, "train-images-idx3-ubyte", rf"{LABELS}: not an IDX file of uint8 with 1 dim"),
    ],
)
def test_swapped_files_are_refused(fashion: Path, one: str, other: str, reason: str) -> None:
    swap(fashion / one, fashion / other)
    with pytest.raises(InputError, match=reason):
        load_split("fashion_mnist", False, fashion.parents[1])


def test_folder_in_place_of_a_file_is_refused(fashion: Path) -> None:
    (fashion / LABELS).unlink()
    (fashion / LABELS).mkdir()
    with pytest.raises(InputError, match=rf"{LABELS}: is not a regular file"):
        load_split("fashion_mnist", False, fashion.parents[1])


@pytest.mark.parametrize("damage", [cut, zeros, empty, flip_bit])
def test_damaged_gzip_is_refused(fashion: Path, damage: Callable[[bytes], bytes]) -> None:
    packed = gzip.compress((fashion / LABELS).read_bytes())
    (fashion / LABELS).unlink()
    put(fashion / f"{LABELS}.gz", damage(packed))
    with pytest.raises(InputError, match=rf"{LABELS}(\.gz)?: ") as caught:
        load_split("fashion_mnist", False, fashion.parents[1])
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not CAN_MEASURE, reason="memory is measured on Linux")
@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_a_file_of_any_size_takes_no_memory(
    tmp_path: Path, mnist_files: Path, dataset: str
) -> None:
    raw = Path(shutil.copytree(mnist_files, tmp_path / SETS[dataset].folder / "raw"))
    os.truncate(raw / LABELS, 2_000_000_000)

    def load() -> None:
        with pytest.raises(InputError, match=rf"{LABELS}: too large, 64,000,000 bytes at most"):
            load_split(dataset, False, tmp_path)

    _, _, megabytes = measured(load)
    assert megabytes < 300


def test_a_gzip_of_any_size_is_refused(fashion: Path) -> None:
    (fashion / LABELS).unlink()
    put(fashion / f"{LABELS}.gz", gzip.compress(bytes(100_000_000), 1))
    with pytest.raises(InputError, match=rf"{LABELS}\.gz: too large, 64,000,000 bytes at most"):
        load_split("fashion_mnist", False, fashion.parents[1])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_in_place_of_a_file_is_refused(fashion: Path) -> None:
    (fashion / LABELS).unlink()
    os.mkfifo(fashion / LABELS)
    with pytest.raises(InputError, match=rf"{LABELS}: is not a regular file"):
        load_split("fashion_mnist", False, fashion.parents[1])


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
            pytest.raises(InputError, match=rf"{IMAGES}.*Permission denied"),
        ):
            load_split("fashion_mnist", False, Path(folder))
        raw.chmod(0o755)


# --- downloads


class Server(ThreadingHTTPServer):
    """Stands in for the place where a set is published."""

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
    monkeypatch.setattr(FashionMNIST, "resources", md5)
    monkeypatch.setattr("mnist_lab.data.mnist_files._NETWORK_SECONDS", 0.3)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(files) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def test_missing_set_is_downloaded_once(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, mnist_test: Split
) -> None:
    monkeypatch.setattr(FashionMNIST, "mirrors", [server.url("good")])
    for _ in range(2):
        assert_same(load_split("fashion_mnist", False, tmp_path), mnist_test)
    assert server.asked == [f"/good/{IMAGES}.gz", f"/good/{LABELS}.gz"]
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
    monkeypatch.setattr(FashionMNIST, "mirrors", [server.url(behaviour)])
    raw = tmp_path / "FashionMNIST" / "raw"
    with pytest.raises(
        InputError,
        match=rf"{IMAGES} is missing and could not be downloaded \(.*{reason}\); "
        rf"put {', '.join(MNIST_SHA256)} \(or gzipped\) into {re.escape(str(raw))}$",
    ) as caught:
        load_split("fashion_mnist", False, tmp_path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert {path.name for path in raw.iterdir()} == {".lock"}
    monkeypatch.setattr(FashionMNIST, "mirrors", [server.url("good")])
    assert_same(load_split("fashion_mnist", False, tmp_path), mnist_test)


def test_no_network_fails_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KMNIST, "mirrors", ["http://nowhere.invalid/"])
    start = time.monotonic()
    with pytest.raises(InputError, match="could not be downloaded"):
        load_split("kmnist", True, tmp_path)
    assert time.monotonic() - start < 5


def test_missing_set_below_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="Not a directory"):
        load_split("kmnist", True, tmp_path / "file")


@pytest.mark.parametrize("key", ["fashion_mnist", "kmnist", "qmnist", "usps"])
def test_torchvision_knows_where_each_file_is_published(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(request: Request, **_: object) -> None:
        asked.append(request.full_url.rpartition("/")[2])
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    names = SETS[key].train + SETS[key].test
    names = tuple(name if Path(name).suffix else f"{name}.gz" for name in names)
    for name in names:
        with pytest.raises(OSError, match="no network"):
            download(key, name)
    assert asked == [*names]
