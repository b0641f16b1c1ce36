"""Checkpoints that a user's own code adds to are read again, or refused at the first save."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mnist_lab.errors import ConfigError
from mnist_lab.files.checkpoint import read_checkpoint
from mnist_lab.training.checkpoints.plugin import AtomicCheckpointIO


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


@pytest.mark.parametrize("value", [nn.Linear(2, 2), partial(torch.optim.Adam, lr=0.1), print])
def test_hyperparameters_that_no_checkpoint_can_hold_are_left_out(
    value: Any, tmp_path: Path
) -> None:
    settings = {"width": [8], "given": value, "in": {"a": [value]}, "name": "x"}
    keys, path = ("hyper_parameters", "datamodule_hyper_parameters"), tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}, **dict.fromkeys(keys, settings)}, path)
    for key in keys:
        assert list(read_checkpoint(path)[key].items()) == [("width", [8]), ("name", "x")]
    assert settings["given"] is value


def test_a_hyperparameter_of_another_kind_is_said_at_the_first_save(tmp_path: Path) -> None:
    checkpoint = {"state_dict": {}, "hyper_parameters": {"place": Path("x")}}
    with pytest.raises(ConfigError, match=r"last.ckpt: .*have your code save tensors, numbers"):
        AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "last.ckpt")
