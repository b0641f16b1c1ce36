"""The arguments that several verbs share."""

import os
from pathlib import Path

import pytest

from mnist_lab.cli.arguments import Parser, check_may_write, only_targets, split_targets
from mnist_lab.errors import ConfigError, StorageError


def test_an_error_is_one_line_without_the_usage() -> None:
    with pytest.raises(ConfigError, match=r"^unrecognized arguments: --x; mnist-lab y --help"):
        Parser("mnist-lab y").parse_args(["--x"])


def test_directories_and_what_is_opened_may_be_mixed() -> None:
    words = ["a", "allow_targets=[mine.]", "b", "a"]
    assert split_targets(words, "DIR") == (["a", "b"], ["allow_targets=[mine.]"])
    with pytest.raises(ConfigError, match="DIR: at least one is required"):
        split_targets(["allow_targets=[mine.]"], "DIR")


def test_only_what_is_opened_can_be_overridden() -> None:
    assert only_targets(["allow_targets=[mine.]"]) == ["mine."]
    with pytest.raises(ConfigError, match=r"model=cnn: not taken"):
        only_targets(["model=cnn"])


def test_a_file_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    check_may_write(file, may_overwrite=False)
    file.write_text("mine")
    check_may_write(file, may_overwrite=True)
    with pytest.raises(ConfigError, match="is there already; --overwrite replaces it"):
        check_may_write(file, may_overwrite=False)


def test_a_link_is_as_the_file_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(ConfigError, match="is there already"):  # which would be replaced
        check_may_write(tmp_path / "link", may_overwrite=False)
    check_may_write(tmp_path / "link", may_overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        check_may_write(tmp_path / "link", may_overwrite=False)
    check_may_write(tmp_path / "link", may_overwrite=True)


@pytest.mark.parametrize("may_overwrite", [True, False])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, may_overwrite: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    with open(tmp_path / "file", "w") as file:
        (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{file.fileno()}")
        for name in ("pipe", "link", "folder", "stdout"):
            with pytest.raises(ConfigError, match=f"{name}: must be a regular file, or a path"):
                check_may_write(tmp_path / name, may_overwrite)


def test_a_file_that_the_lab_wrote_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a.html"
    for mark in (
        '<meta name="generator" content="mnist-lab card">',
        "<!-- mnist-lab card -->",
        "Software\0mnist-lab card",
    ):
        file.write_text(f"a{mark}b")
        check_may_write(file, may_overwrite=False, generator="mnist-lab card")
        for other in ("", "mnist-lab report"):
            with pytest.raises(ConfigError, match="is there already"):
                check_may_write(file, may_overwrite=False, generator=other)
    file.write_text(f"About mnist-lab card. {2000 * 'x'} <!-- mnist-lab card -->")
    with pytest.raises(ConfigError, match="is there already"):
        check_may_write(file, may_overwrite=False, generator="mnist-lab card")


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written: File name too long"):
        check_may_write(tmp_path / (300 * "x"), may_overwrite=True)
