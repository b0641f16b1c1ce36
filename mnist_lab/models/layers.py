"""The parts that networks are built from, and checks of what they are built with."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from mnist_lab.errors import ConfigError
from mnist_lab.models.arguments import ACTIVATIONS, DROPOUT, NOISE, SIZE, Range


def one_of(key: str, value: str, allowed: Iterable[str]) -> str:
    """Return the value if it is allowed.

    Raises:
        ConfigError: it is not.
    """
    if value not in allowed:
        raise ConfigError(f"{key}={value}: must be one of {', '.join(allowed)}")
    return value


def is_list(value: Any) -> bool:
    """Return whether a value is a list of any kind, or a tuple."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def plain(value: Any) -> Any:
    """Return lists and mappings of any kind, as OmegaConf's, as those that a checkpoint holds."""
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if is_list(value) and type(value) is not tuple else value


def check_range(key: str, value: Any, allowed: Range, number: type = int) -> None:
    """Check a number, or each of a list of them; ``number=int`` requires whole ones.

    Raises:
        ConfigError: a number is out of range, or is none.
    """
    for entry in value if is_list(value) else [value]:
        if entry not in allowed or (number is int and not isinstance(entry, int)):
            kind = "a whole number" if number is int else "a number"
            raise ConfigError(f"{key}={value}: must be {kind} {allowed}")


def sizes(key: str, value: Any) -> list[int]:
    """Return the sizes of layers from a list of them, or from one number for one layer.

    Raises:
        ConfigError: a size is out of range, or is none.
    """
    check_range(key, value, SIZE)
    return list(value) if is_list(value) else [value]


def one_for_each(key: str, value: Any, count: int) -> list[Any]:
    """Return a list of ``count`` values from one value, or from a list of that length.

    Raises:
        ConfigError: the list has another length.
    """
    values = list(value) if is_list(value) else [value] * count
    if len(values) != count:
        raise ConfigError(f"{key}={value}: must be one value or a list of {count}, one for each")
    return values


def image_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return ``(channels, height, width)``.

    Raises:
        ConfigError: it is another number of sizes, or one is out of range.
    """
    check_range("model.in_shape", list(shape), SIZE)
    if len(shape) != 3:
        raise ConfigError(f"model.in_shape={list(shape)}: must be channels, height and width")
    return tuple(shape)


def fitted(images: Tensor, in_shape: Sequence[int]) -> Tensor:
    """Bring ``(B, C, H, W)`` uint8 images to a model's size, and one channel to several."""
    channels, *sides = in_shape
    if list(images.shape[2:]) != sides:
        scaled = F.interpolate(images.float(), tuple(sides), mode="bilinear", antialias=True)
        images = scaled.round().clamp(0, 255).to(torch.uint8)
    return images.expand(-1, channels, -1, -1) if images.shape[1] != channels else images


def activation_layer(
    name: str, key: str = "model.activation", classes: Mapping[str, str] = ACTIVATIONS
) -> nn.Module:
    """Return an activation by its name in classes of ``torch.nn``.

    Raises:
        ConfigError: the name is unknown.
    """
    layer: nn.Module = getattr(nn, classes[one_of(key, name, classes)])()
    return layer


class GaussianNoise(nn.Module):
    """Adds Gaussian noise of a standard deviation to its input, in training only."""

    def __init__(self, std: float) -> None:
        super().__init__()
        check_range("model.noise", std, NOISE, float)
        self.std = std

    @override
    def extra_repr(self) -> str:
        return f"std={self.std}"

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(B, ...)`` for the same."""
        return inputs + self.std * torch.randn_like(inputs) if self.training else inputs


def hidden_layers(
    in_features: int,
    hidden_dims: list[int],
    activation: str,
    dropout: Any,
    batch_norm: bool,
    noise: float = 0.0,
) -> list[nn.Module]:
    """Return linear layers, each with batch norm, noise, its activation and dropout, if any.

    Raises:
        ConfigError: noise or dropout is out of its range, or dropout has another length than
            ``hidden_dims``.
    """
    layers: list[nn.Module] = []
    check_range("model.dropout", dropout, DROPOUT, float)
    rates = one_for_each("model.dropout", dropout, len(hidden_dims))
    for width, rate in zip(hidden_dims, rates, strict=True):
        layers.append(nn.Linear(in_features, width))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        if noise:
            layers.append(GaussianNoise(noise))
        layers.append(activation_layer(activation))
        if rate:
            layers.append(nn.Dropout(rate))
        in_features = width
    return layers
