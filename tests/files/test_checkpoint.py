"""Checkpoint files that are written can be read, and are hashed by their content."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_lab.errors import ConfigError
from mnist_lab.files.checkpoint import AtomicCheckpointIO, read_checkpoint, sha256_of


@pytest.mark.parametrize(
    "value", [{1, 2}, torch.Size([1]), torch.float32, 1 + 2j, torch.nn.Parameter(torch.ones(2))]
)
def test_what_torch_puts_together_can_be_saved(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "callbacks": {"mine": value}}, path)
    kept = read_checkpoint(path)["callbacks"]["mine"]
    assert torch.equal(kept, value) if isinstance(value, torch.Tensor) else kept == value


@pytest.mark.parametrize("value", [Path("x"), bytearray(3), torch.ones(2).numpy()], ids=repr)
def test_what_could_not_be_read_again_is_said_at_the_first_save(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"last.ckpt: .*have your code save tensors, numbers"):
        AtomicCheckpointIO().save_checkpoint({"mine": value}, tmp_path / "last.ckpt")


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
