"""Reads MNIST from the package, and the other published sets from their files."""

import functools
import hashlib
import http.client
import logging
import lzma
import os
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from torch import Tensor

from mnist_lab.data.formats import corrupt, read_part, unpacked
from mnist_lab.data.sets import SETS, find_file, folder_of
from mnist_lab.errors import InputError, reason
from mnist_lab.files.atomic import remove_partials, write_atomic
from mnist_lab.files.regular import read_regular

PACKED = Path(__file__).parent / "mnist"
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
ELSEWHERE = {  # sets whose files have no published hashes, or lie in an archive of gigabytes
    "emnist": "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    "kuzushiji49": "http://codh.rois.ac.jp/kmnist/",
}
_NETWORK_SECONDS = 15  # without an answer
_LOCK_SECONDS = 60  # unpacking takes under a second; a holder that hangs must not hang the others
_log = logging.getLogger(__name__)


class Split(NamedTuple):
    """One of the two parts that a set is published in.

    Args:
        images: ``(N, 1, 28, 28)`` uint8.
        labels: ``(N,)`` int64, from 0 on.
        sha256: hash over the bytes of the files that it is from.
    """

    images: Tensor
    labels: Tensor
    sha256: str


def cache() -> Path:
    """Return the lab's own folder, ``mnist_lab`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnist_lab"


def default_root() -> Path:
    """Return the folder of the sets where ``data.root`` is not given: MNIST_LAB_DATA or cache()."""
    chosen = os.environ.get("MNIST_LAB_DATA")
    return Path(chosen).expanduser() if chosen else cache()


def load_split(key: str, train: bool, root: Path | None = None, *, fills: bool = True) -> Split:
    """Read and check one part of a set.

    Files of the user's own are used as they are; only in the lab's own folder are they repaired.

    Args:
        key: the set, one of ``SETS``.
        train: the training part if true, else the test part.
        root: the folder that holds the sets; None is ``default_root()``.
        fills: whether files that are missing there are put there; else the set is taken from the
            lab's own folder, which is always filled.

    Raises:
        InputError: a file is corrupt, or missing and cannot be downloaded.
    """
    published, folder = SETS[key], folder_of(root or default_root(), key)
    names = published.train + published.test
    if missing := [name for name in names if find_file(folder, name) is None]:
        if not fills:
            if root is not None:
                _note_lacking(root, key)
            folder = folder_of(cache(), key)
        elif key == "mnist":
            _check_others(folder, missing[0])
    files = [_read(key, folder, name) for name in (published.train if train else published.test)]
    images, labels = read_part(files, published.max_bytes)
    first, last = published.first_label, published.first_label + len(published.classes) - 1
    for label in (int(labels.min()), int(labels.max())):
        if not first <= label <= last:
            raise corrupt(files[-1][0], f"label {label} found, {first} to {last} required")
    if published.folder == "EMNIST":  # whose images are stored column by column
        images = images.mT.contiguous()
    digest = hashlib.sha256()
    for _, content in files:
        digest.update(content)
    return Split(images.unsqueeze(1), labels - first, digest.hexdigest())


@functools.cache  # once for both parts
def _note_lacking(root: Path, key: str) -> None:
    name = SETS[key].folder
    _log.warning("%s: has not all files of %s; the lab's own are used", root, name)


def _check_others(folder: Path, missing: str) -> None:
    """Refuse to complete a set of the user's own by files of MNIST."""
    found = folder.glob("[!.]*idx*") if os.path.isdir(folder) else ()
    for path in sorted(found):
        if not _is_own(path) and not _is_published(path, _content("mnist", path)):
            raise InputError(
                f"{folder / missing}: missing, beside {path.name}, which is not the published file "
                f"of MNIST; all of {', '.join(MNIST_SHA256)} are required, or none"
            )


def _is_own(path: Path) -> bool:
    return path.resolve().is_relative_to(cache().resolve())


def _is_published(path: Path, content: bytearray) -> bool:
    name = path.name.removesuffix(".gz").replace(".idx", "-idx")
    return hashlib.sha256(content).hexdigest() == MNIST_SHA256.get(name)


def _read(key: str, folder: Path, name: str) -> tuple[Path, bytearray]:
    """Return one of a set's files, and where it is from."""
    path = find_file(folder, name) or folder / name
    content = _found(key, path)
    return path, _filled(key, folder / name) if content is None else content


def _found(key: str, path: Path) -> bytearray | None:
    """Return what a file has; None if it is missing, or is the lab's own and corrupt."""
    if not os.path.exists(path):
        return None
    is_own = key == "mnist" and _is_own(path)
    try:
        content = _content(key, path)
    except InputError:
        if is_own:
            return None
        raise
    if key != "mnist" or _is_published(path, content):
        return content
    if is_own:
        return None
    _log.warning("%s: is not the published file of MNIST, and is used as it is", path)
    return content


def _content(key: str, path: Path) -> bytearray:
    limit = SETS[key].max_bytes
    return unpacked(read_regular(path, limit), path, limit)


def _filled(key: str, path: Path) -> bytearray:
    """Return a file of the package or of the net, after it is put where it is missing."""
    was_corrupt = os.path.exists(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock", timeout=_LOCK_SECONDS if key == "mnist" else -1):
            if (content := _found(key, path)) is not None:
                return content  # another process was faster
            if _is_own(path):
                remove_partials(path.parent, path.parent)
            content = _unpack(path.name) if key == "mnist" else _downloaded(key, path)
            write_atomic(path, content)
    except (OSError, NotImplementedError, http.client.HTTPException) as error:
        # NotImplementedError: no locks in this file system
        if key != "mnist":
            names = ", ".join(SETS[key].train + SETS[key].test)
            raise InputError(
                f"{path} is missing and could not be downloaded ({reason(error)}); "
                f"put {names}{'' if path.suffix else ' (or gzipped)'} into {path.parent}"
            ) from error
        warnings.warn(
            f"{path.parent} cannot be written ({reason(error)}); MNIST is unpacked in memory "
            "instead, which costs about 0.6 s a run; data.root= or MNIST_LAB_DATA names another "
            "folder",
            stacklevel=2,
        )
        return _unpack(path.name)
    if was_corrupt:
        warnings.warn(f"{path} was corrupt and has been unpacked again", stacklevel=2)
    return unpacked(content, path, SETS[key].max_bytes) if path.suffix else content


def _unpack(name: str) -> bytearray:
    packed = PACKED / f"{name}.xz"
    try:
        content = bytearray(lzma.decompress(packed.read_bytes()))
    except (OSError, lzma.LZMAError) as error:
        raise InputError(
            f"{packed}: cannot be read: {reason(error)}; reinstall mnist_lab"
        ) from error
    if hashlib.sha256(content).hexdigest() != MNIST_SHA256[name]:
        raise InputError(f"{packed}: not the file that was shipped; reinstall mnist_lab")
    return content


def _downloaded(key: str, path: Path) -> bytearray:
    """Return a file from the net; one of IDX is published gzipped, and kept unpacked."""
    if path.suffix:
        return bytearray(download(key, path.name))
    limit = SETS[key].max_bytes
    return unpacked(download(key, f"{path.name}.gz"), path.with_name(f"{path.name}.gz"), limit)


def download(key: str, name: str) -> bytes:
    """Return a file of a set by its published name, with its ``.gz``, checked by its MD5.

    Raises:
        OSError, HTTPException: it cannot be downloaded, or is another file.
    """
    if place := ELSEWHERE.get(key.partition("-")[0]):
        raise OSError(f"it is published at {place}")
    url, md5 = _address(key, name)
    request = urllib.request.Request(url, headers={"User-Agent": "mnist_lab"})
    _log.info("downloading %s", url)
    try:
        with urllib.request.urlopen(request, timeout=_NETWORK_SECONDS) as response:
            content: bytes = response.read()
    except urllib.error.HTTPError as error:
        error.close()
        raise
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise OSError(f"{url} is not the published file")
    return content


def _address(key: str, name: str) -> tuple[str, str]:
    """Return the URL and the MD5 of a file, as torchvision has them."""
    from torchvision import datasets  # takes a second

    files: list[tuple[str, str]]
    if key == "qmnist":
        files = [*datasets.QMNIST.resources["train"], *datasets.QMNIST.resources["test"]]
    elif key == "usps":
        files = [(url, md5) for url, _, md5 in datasets.USPS.split_list.values()]
    else:
        published = {"fashion_mnist": datasets.FashionMNIST, "kmnist": datasets.KMNIST}[key]
        files = [(published.mirrors[0] + file, md5) for file, md5 in published.resources]
    return next((url, md5) for url, md5 in files if url.endswith(f"/{name}"))
