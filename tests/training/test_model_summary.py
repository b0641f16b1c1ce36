"""Summary of a model: each layer with its output's shape, its parameters and FLOPs."""

import re
from pathlib import Path
from typing import Any

import lightning as L
import torch
from door import FEW_BATCHES, call
from lightning.pytorch.callbacks import ModelSummary
from torch import nn
from torchmetrics.classification import MulticlassF1Score

from mnist_lab.models import CNN, MLP
from mnist_lab.training.model_summary import example_batch, layers, summary_lines

SHORT = FEW_BATCHES.replace("trainer.enable_model_summary=false", "")


def test_what_a_run_prints_is_in_its_log(tmp_path: Path) -> None:
    done = call(f"train model=cnn metrics=f1 trainer.max_epochs=2 {SHORT}", tmp_path)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert [re.split(r"  +", line) for line in printed[:3]] == [
        ["layer", "type", "output", "params", "FLOPs"],
        ["net.0", "Conv2d", "24 x 28 x 28", "624", "940.8 k"],
        ["net.1", "MaxPool2d", "24 x 14 x 14"],
    ]
    assert "CNN: 411,802 parameters, 4.5 MFLOPs an image" in printed
    assert not any("metrics" in line.lower() for line in printed)
    (log,) = tmp_path.rglob("train.log")
    in_file = [line.partition("] ")[2].rstrip() for line in log.read_text().splitlines()]
    assert [line.rstrip() for line in printed if line.strip()] == [line for line in in_file if line]


def test_the_sum_is_that_of_the_layers() -> None:
    model = MLP(hidden_dims=[7], dropout=0.5, batch_norm=True)
    lines = summary_lines(model, example_batch(model))
    assert lines[-1] == f"MLP: {784 * 7 + 7 + 14 + 80:,} parameters, 11.1 kFLOPs an image"
    flops = 2 * (784 * 7 + 7 * 10)  # a multiplication and an addition for each weight
    assert 11.0e3 < flops < 11.2e3
    assert max(map(len, lines)) < 80


def test_the_model_is_left_as_it_was() -> None:
    model = CNN(channels=[2], kernel_size=3, dropout=0.5, batch_norm=True)
    model.net[0].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    summary_lines(model, example_batch(model))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    hooks = [(module._forward_hooks, module._forward_pre_hooks) for module in model.modules()]
    assert not any(any(pair) for pair in hooks)


class Own(L.LightningModule):
    """A model of which nothing says what it takes, with a metric, and deep."""

    def __init__(self, depth: int = 50) -> None:
        super().__init__()
        self.f1 = MulticlassF1Score(num_classes=10)
        blocks = [nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(depth)]
        self.body = nn.Sequential(*blocks)
        self.body[0][0].requires_grad_(False)
        self.head = nn.Linear(4, 10)

    def forward(self, images: Any) -> Any:
        return self.head(self.body(images))


def test_a_deep_model_shows_its_blocks() -> None:
    assert list(layers(Own(50))) == ["body", "head"]
    assert list(layers(Own(2))) == ["body.0.0", "body.0.1", "body.1.0", "body.1.1", "head"]
    lines = summary_lines(Own(2), None)
    assert lines[0].split() == ["layer", "type", "params"]
    assert lines[-1] == "Own: 90 parameters, 70 of them trained"


def test_a_model_that_does_not_take_its_example() -> None:
    assert summary_lines(Own(2), torch.zeros(1, 3)) == summary_lines(Own(2), None)


def test_a_summary_of_the_users_own_is_the_only_one(tmp_path: Path) -> None:
    name = f"{ModelSummary.__module__.rpartition('.')[0]}.RichModelSummary"
    done = call(f"train model=softmax +callbacks.own._target_={name} {SHORT}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "FLOPs an image" not in done.stdout
    assert "Trainable params" in done.stdout
