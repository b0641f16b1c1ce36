from pathlib import Path

import pytest

from mnist_lab.config.extras import require
from mnist_lab.errors import ConfigError


def test_a_folder_of_the_name_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlruns_of_mine").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    require("mine", "lightning")
    line = r"^logger: mlruns_of_mine is not installed; pip install 'mnist_lab\[mine\]'$"
    with pytest.raises(ConfigError, match=line):
        require("mine", "lightning", "mlruns_of_mine", by="logger")
