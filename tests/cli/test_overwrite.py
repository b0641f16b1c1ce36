"""Files that are there already."""

from pathlib import Path

import pytest

from mnist_lab.cli.overwrite import check_may_write
from mnist_lab.errors import ConfigError


def test_a_file_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    check_may_write(file, may_overwrite=False)
    file.write_text("mine")
    check_may_write(file, may_overwrite=True)
    with pytest.raises(ConfigError, match="is there already; --overwrite replaces it"):
        check_may_write(file, may_overwrite=False)
