"""Importing without the garbage collector leaves it as it was."""

import contextlib
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.config import allowlist


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_collector_is_as_before(is_enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    if not is_enabled:
        gc.disable()
    with contextlib.suppress(ImportError), without_collector():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() == is_enabled
    assert bool(gc.get_freeze_count()) == is_enabled


def test_what_a_trial_leaves_is_not_kept_by_the_next() -> None:
    with without_collector():
        assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_nothing_is_taken_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that torch loads runs a libcuda.so.1 that is there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "torch")
    with without_collector():
        assert Path.cwd() == Path(allowlist.__file__).parent
    assert Path.cwd() == tmp_path
