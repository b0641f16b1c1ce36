"""Runs that are killed in this process: an error that nothing catches ends them between batches."""

from pathlib import Path
from typing import Any

import pytest
from door import call

from mnist_lab.training.epoch_loop import FastEpochLoop


class Killed(BaseException):
    """Nothing catches it."""


def killed_at(number: int, command: str, folder: Path) -> None:
    """Start a command whose training ends before a batch."""
    advance, left = FastEpochLoop.advance, number

    def or_die(self: FastEpochLoop, data_fetcher: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        advance(self, data_fetcher)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FastEpochLoop, "advance", or_die)
        with pytest.raises(Killed):
            call(command, folder)
