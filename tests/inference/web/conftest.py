"""The page that the tests of this folder share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import served


@pytest.fixture(scope="session")
def port(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    other = tmp_path_factory.mktemp("runs") / "the same again"
    shutil.copytree(trained, other)
    with served(trained, other) as (_, port):
        yield port
