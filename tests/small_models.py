"""Models and a trainer for the tests of models."""

from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from mnist_lab.models import CNN, MLP, Classifier, SoftmaxRegression
from mnist_lab.training.fit import default_trainer

MODELS = {
    "softmax": SoftmaxRegression,
    "mlp": MLP,
    "cnn": CNN,
}
FROZEN = {"name": "sgd", "lr": 0.0}  # weights stay, so that metrics can be computed again
SMALL = {**MODELS, "cnn": partial(CNN, channels=[4], kernel_size=3, hidden_dims=[8])}
every_small_model = pytest.mark.parametrize("model_class", SMALL.values(), ids=SMALL)
every_model = pytest.mark.parametrize("model_class", MODELS.values(), ids=MODELS)


def trainer(model: Classifier, **options: Any) -> L.Trainer:
    return default_trainer(
        model, **{"accelerator": "cpu", "enable_progress_bar": False, "precision": 32, **options}
    )


def layers(model: Classifier) -> list[nn.Linear | nn.Conv2d]:
    return [layer for layer in model.net.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


@torch.no_grad()
def logits_of(model: Classifier, images: Tensor) -> Tensor:
    return torch.cat([model.eval()(some) for some in images.split(1_000)])
