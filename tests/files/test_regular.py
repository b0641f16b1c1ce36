"""Regular files are read up to a bound; anything else is refused in one line."""

import os
from pathlib import Path

import pytest

from mnist_lab.errors import InputError
from mnist_lab.files.regular import open_regular, read_regular


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"1234")
    assert read_regular(path, 4) == b"1234"
    with pytest.raises(InputError, match=r"a\.json: too large, 3 bytes at most"):
        read_regular(path, 3)


def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it: opening it must not wait
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match="is not a regular file"):
            read_regular(path, 10)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="my run: no such file"):
        read_regular(tmp_path / "a", 10, "my run")
    with pytest.raises(InputError, match="a: no such file"), open_regular(tmp_path / "a"):
        pass
    with pytest.raises(InputError, match="cannot be read"):
        read_regular(tmp_path / "a\0b", 10)
