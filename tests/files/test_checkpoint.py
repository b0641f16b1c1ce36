"""A checkpoint is hashed by its content, and written whole or not at all."""

from pathlib import Path

import pytest
import torch

from mnist_lab.errors import StorageError
from mnist_lab.files.checkpoint import read_checkpoint, sha256_of, write_checkpoint


def test_a_hash_is_of_values_types_and_names() -> None:
    state = {"a": torch.ones(2, 3), "b": [1, "x"]}
    assert sha256_of(state) == sha256_of({"b": [1, "x"], "a": torch.ones(3, 2).T})
    for other in (
        {**state, "a": torch.ones(3, 2)},
        {**state, "a": torch.ones(2, 3).double()},
        {**state, "c": 1},
        {**state, "b": [1, "y"]},
    ):
        assert sha256_of(other) != sha256_of(state)


def test_a_checkpoint_that_is_replaced_may_be_kept(tmp_path: Path) -> None:
    last, previous = tmp_path / "a" / "last.ckpt", tmp_path / "a" / "previous.ckpt"
    for step in range(2):
        write_checkpoint(last, {"state_dict": {}, "step": step}, keep=previous)
    assert (read_checkpoint(previous)["step"], read_checkpoint(last)["step"]) == (0, 1)
    with pytest.raises(StorageError, match=r"x\.ckpt: cannot be written: "):
        write_checkpoint(last / "x.ckpt", {})
