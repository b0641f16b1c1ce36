"""Stacks softmax regressions or MLPs into one network, bit for bit, where that can be done."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Generator, Tensor, nn

from mnist_lab.data.augment_list import seeded_by
from mnist_lab.models import MLP, Classifier, SoftmaxRegression
from mnist_lab.models.arguments import ACTIVATIONS, OUTPUTS
from mnist_lab.models.classifier import PIXEL_SCALE
from mnist_lab.training.lightning_internals import has_hooks
from mnist_lab.training.stacked.layers import (
    Shares,
    StackedActivation,
    StackedBatchNorm,
    StackedDropout,
    StackedLinear,
)

Tensors = dict[str, Tensor]
EXACT = (MLP, SoftmaxRegression)
"""Models whose stack has the bits of lone runs on a CPU."""
_ACTIVATIONS = {getattr(nn, name) for name in (ACTIVATIONS | OUTPUTS).values()}
_LAYERS = {nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.Dropout, *_ACTIVATIONS}
"""Layers that have a stacked form; a layer with spectral norm, for example, is of another class."""
_OPTIMIZER_SETTINGS = {
    "adam": {"name", "lr", "weight_decay", "betas", "eps"},
    "adamw": {"name", "lr", "weight_decay", "betas", "eps"},
    "sgd": {"name", "lr", "weight_decay", "momentum", "nesterov"},
}


def reason_optimizer_is_not_stacked(model: Classifier) -> str | None:
    """Return in one line why a stack cannot step a model as its optimizer does; None if it can."""
    settings = model.optimizer_settings
    if settings["name"] not in _OPTIMIZER_SETTINGS:
        return f"optimizer._target_={settings['name']} is not stacked"
    unknown = settings.keys() - _OPTIMIZER_SETTINGS[settings["name"]]
    if unknown:
        return f"optimizer.{min(unknown)} is not stacked"
    return None


def reason_weights_are_not_stacked(model: Classifier) -> str | None:
    """Return in one line why a stack cannot train a model's weights as they are; None if it can."""
    name, is_exact = type(model).__name__, type(model) in EXACT
    if has_hooks(model, forward=is_exact):
        return f"{name} is not stacked, as it has hooks"
    if is_exact and not all(parameter.requires_grad for parameter in model.parameters()):
        return f"{name} is not stacked, as some of its weights are frozen"
    layers = {*map(type, model.net.children())} if is_exact else set()
    if others := [layer.__name__ for layer in layers - _LAYERS]:
        return f"{name} is not stacked, as {min(others)} has no stacked form"
    return None


def _layers(model: Classifier) -> list[tuple[nn.Module, nn.Dropout | None]]:
    """Return the layers of a model's network, each with the dropout that follows it."""
    assert isinstance(model.net, nn.Sequential)
    layers: list[tuple[nn.Module, nn.Dropout | None]] = []
    for layer in model.net:
        if isinstance(layer, nn.Dropout):
            layers[-1] = layers[-1][0], layer
        elif not isinstance(layer, nn.Flatten):
            layers.append((layer, None))
    return layers


class StackedNet(nn.Module):
    """The networks of K models as one.

    Args:
        models: the models, of the same layers; whether dropout follows one, and its rate, may
            differ.
        generators: for each what draws its dropout on a CPU.
    """

    def __init__(self, models: Sequence[Classifier], generators: list[Generator]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self._generators = generators
        self._pixel_buffer: Tensor | None = None  # (S, B, 1, 28, 28) float32
        self._sources: list[tuple[str, list[nn.Module]]] = []  # names, with each trial's own layer
        self._dropouts: list[tuple[StackedDropout, list[nn.Dropout | None]]] = []
        for one_of_each in zip(*(_layers(model) for model in models), strict=True):
            layers, own = [layer for layer, _ in one_of_each], [drop for _, drop in one_of_each]
            stacked = _stacked(layers)
            self._sources.append((f"layers.{len(self.layers)}", layers))
            self.layers.append(stacked)
            if any(rates := _rates(own)):
                dropout = StackedDropout(rates, generators)
                self.layers.append(dropout)
                self._dropouts.append((dropout, own))

    def forward(self, images: Tensor, shares: Shares) -> Tensor:
        """Return logits ``(K, B, num_classes)`` for S batches of uint8 ``(S, B, 1, 28, 28)``."""
        outputs = self._pixels(images)
        for layer in self.layers:
            if isinstance(layer, StackedLinear):
                outputs = layer(outputs, shares)
                shares = (1,) * len(outputs)
            else:
                outputs = layer(outputs)
        return outputs

    def _pixels(self, images: Tensor) -> Tensor:
        """Return ``(S, B, 784)`` in [0, 1], in training in memory that is allocated once."""
        if not self.training:
            return images.to(torch.float32).mul_(PIXEL_SCALE).flatten(2)
        size, buffer = images.shape, self._pixel_buffer
        if buffer is None or buffer.shape[0] != size[0] or buffer.shape[1] < size[1]:
            buffer = self._pixel_buffer = torch.empty(size, device=images.device)
        return buffer[:, : size[1]].copy_(images).mul_(PIXEL_SCALE).flatten(2)

    def keep(self, positions: list[int], generators: list[Generator]) -> None:
        """Keep the trials at these positions, without the others."""
        chosen = torch.tensor(positions, dtype=torch.long, device=next(self.parameters()).device)
        for parameter in self.parameters():
            parameter.data, parameter.grad = parameter.data[chosen], None
        for layer in self.layers:
            for name, buffer in layer.named_buffers(recurse=False):
                setattr(layer, name, buffer[chosen])
            if isinstance(layer, StackedDropout):
                layer.keep(positions, generators)
        self._generators = generators
        self._sources = [
            (place, [layers[position] for position in positions]) for place, layers in self._sources
        ]
        self._dropouts = [
            (stacked, [layers[position] for position in positions])
            for stacked, layers in self._dropouts
        ]

    def follow_rates(self) -> None:
        """Take the rates of dropout of the trials' own models, which may have changed."""
        for dropout, own in self._dropouts:
            dropout.rates = _rates(own)

    def stream(self, device: torch.device) -> AbstractContextManager[None]:
        """Return what a step stands in, so that a GPU draws from the trials' stream."""
        if device.type == "cpu" or not (self.training and self._dropouts):
            return nullcontext()
        return seeded_by(self._generators[0], device)

    @torch.no_grad()
    def write_back(self, position: int, state: Tensors) -> None:
        """Copy the weights of the trial at this position in a ``state_dict`` into its own model."""
        for place, layers in self._sources:
            for name, own in layers[position].state_dict().items():  # which are the layer's own
                own.copy_(state[f"{place}.{name}"][position])


def _rates(layers: Sequence[nn.Dropout | None]) -> list[float]:
    return [0.0 if layer is None else layer.p for layer in layers]


def _stacked(layers: list[nn.Module]) -> nn.Module:
    if all(isinstance(layer, nn.Linear) for layer in layers):
        return StackedLinear(layers)  # type: ignore[arg-type]
    if all(isinstance(layer, nn.BatchNorm1d) for layer in layers):
        return StackedBatchNorm(layers)  # type: ignore[arg-type]
    return StackedActivation(copy.deepcopy(layers[0]))
