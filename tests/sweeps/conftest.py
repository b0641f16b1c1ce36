"""Fixture of the sweeper's tests: a folder of their own, and a callback that makes trouble."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sweeping import TROUBLE


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trouble.py").write_text(TROUBLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for handler in logging.getLogger().handlers:  # the last trial's log is open yet
        handler.close()
    sys.modules.pop("trouble", None)
