"""Importing without the garbage collector leaves it as it was."""

import contextlib
import gc

import pytest

from mnist_lab.imports import without_collector


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_collector_is_as_before(is_enabled: bool) -> None:
    gc.enable() if is_enabled else gc.disable()
    try:
        with contextlib.suppress(ImportError), without_collector():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable()
        gc.unfreeze()
