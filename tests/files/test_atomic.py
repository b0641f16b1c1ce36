"""A file is seen whole or not at all, and a full disk is one line."""

import errno
import os
import threading
from pathlib import Path

import pytest

from mnist_lab.errors import ConfigError, StorageError
from mnist_lab.files.atomic import (
    remove_partials,
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
    for name in (".last.ckpt.partial", "last.ckpt", ".lock"):
        (tmp_path / name).touch()
    remove_partials(tmp_path)
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
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    write_atomic(tmp_path / "file", b"content")
    assert calls == ["fsync", "replace", "fsync"]  # the last one of the folder
