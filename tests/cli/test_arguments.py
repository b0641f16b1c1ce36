"""The arguments that several verbs share."""

from pathlib import Path

import pytest

from mnist_lab.cli.arguments import Parser, check_may_write, only_targets, split_targets
from mnist_lab.errors import ConfigError


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
