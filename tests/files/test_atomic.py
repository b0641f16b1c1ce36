"""A file is seen whole or not at all, and a full disk is one line."""

import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from mnist_lab.errors import ConfigError, StorageError, UntrustedError
from mnist_lab.files.atomic import (
    copy_atomic,
    link_atomic,
    remove,
    remove_partials,
    rename,
    replace_atomic,
    storage_errors,
    write_atomic,
    write_errors,
)

FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def half(file: object) -> None:
        file.write(b"ne")  # type: ignore[attr-defined]
        raise FULL

    with pytest.raises(OSError, match="No space left"):
        replace_atomic(path, half)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_what_is_replaced_can_be_kept(tmp_path: Path) -> None:
    path, kept = tmp_path / "last", tmp_path / "previous"
    for content in (b"1", b"2", b"3"):
        replace_atomic(path, lambda file, content=content: file.write(content), keep=kept)
    assert (path.read_bytes(), kept.read_bytes()) == (b"3", b"2")


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    for name in (".last.ckpt.partial", ".5c1f.partial", "last.ckpt", ".lock"):
        (tmp_path / name).touch()
    remove_partials(tmp_path, tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"last.ckpt", ".lock"}


def test_a_write_error_names_the_path() -> None:
    text = "a/file: cannot be written: No space left on device"
    with pytest.raises(StorageError, match=text), write_errors(Path("a/file")):
        raise FULL


def test_a_full_disk_is_found_behind_other_errors() -> None:
    error = TypeError("of a library")
    error.__cause__ = FULL
    text = r"^run: cannot be written: .* mnist-lab resume run$"
    with pytest.raises(StorageError, match=text), storage_errors(Path("run")):
        raise error


@pytest.mark.parametrize("error", [ConfigError("mine"), ValueError("of a library")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), storage_errors(Path("run")):
        raise error


def test_a_thread_that_meets_a_full_disk_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise FULL

    before = threading.excepthook
    with storage_errors(Path("run")):
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert threading.excepthook is before
    assert capsys.readouterr().err == ""


def test_content_is_on_the_disk_before_it_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda *paths, **at: (calls.append("replace"), replace(*paths, **at))
    )
    write_atomic(tmp_path / "file", b"content")
    assert calls == ["fsync", "replace", "fsync"]  # the last one of the folder


# --- links in a directory that somebody else has made


WRITES: dict[str, Any] = {
    "write": lambda path, root: write_atomic(path, b"new", root),
    "link": lambda path, root: link_atomic(path.with_name("other"), path, root),
    "copy": lambda path, root: copy_atomic(path.with_name("other"), path, root),
    "rename": lambda path, root: rename(path.with_name("other"), path, root),
    "remove": lambda path, root: remove(path, root),
    "remove partials": lambda path, root: remove_partials(path.parent, root),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("level", ["a", "a/b"])
def test_no_folder_below_a_directory_is_a_link(tmp_path: Path, level: str, write: Any) -> None:
    precious, root = tmp_path / "precious", tmp_path / "run"
    for folder in (precious / "b", root / "a" / "b"):
        folder.mkdir(parents=True)
    for name in ("file", "b/file", "other", "b/other", ".x.partial", "b/.x.partial"):
        (precious / name).write_bytes(b"old")
    shutil.rmtree(root / level)
    (root / level).symlink_to(precious)

    def state() -> dict[Path, tuple[int, ...]]:  # but for the time of a look, which looking changes
        stats = {path: path.lstat() for path in precious.rglob("*")}
        return {path: (s.st_ino, s.st_nlink, s.st_size, s.st_mtime_ns) for path, s in stats.items()}

    before = state()
    with pytest.raises(UntrustedError, match=f"{level}: a link"):
        write(root / "a" / "b" / "file", root)
    assert state() == before


def test_a_name_that_is_a_link_is_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"old")
    for name in ("file", ".file.partial"):
        (tmp_path / name).symlink_to(precious)
    write_atomic(tmp_path / "file", b"new")
    assert (precious.read_bytes(), (tmp_path / "file").read_bytes()) == (b"old", b"new")


def test_the_directory_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "there")
    path = tmp_path / "run" / "a" / "file"
    write_atomic(path, b"1", tmp_path / "run")
    write_atomic(path.with_name("other"), b"2", tmp_path / "run")
    link_atomic(path.with_name("other"), path, tmp_path / "run")
    assert path.samefile(path.with_name("other"))
    copy_atomic(path, path, tmp_path / "run")
    assert path.stat().st_nlink == 1
    assert [p.name for p in sorted((tmp_path / "there" / "a").iterdir())] == ["file", "other"]


def test_an_error_names_the_whole_path(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomic(tmp_path / "file", b"")
    assert str(caught.value.filename).startswith(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
