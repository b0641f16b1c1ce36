"""The parts that networks are built from, and checks of what they are built with."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from mnist_lab.errors import ConfigError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
OUTPUTS: dict[str, type[nn.Module]] = {"identity": nn.Identity, "log_sigmoid": nn.LogSigmoid}


def one_of(key: str, value: str, allowed: Iterable[str]) -> str:
    """Return the value if it is allowed.

    Raises:
        ConfigError: it is not.
    """
    if value not in allowed:
        raise ConfigError(f"{key}={value}: must be one of {', '.join(allowed)}")
    return value


def at_least(key: str, value: Any, lowest: int) -> None:
    """Check a whole number, or a list of them.

    Raises:
        ConfigError: it is another thing, or below ``lowest``.
    """
    for one in value if isinstance(value, list | tuple) else [value]:
        if not isinstance(one, int) or isinstance(one, bool) or one < lowest:
            raise ConfigError(f"{key}={value}: must be a whole number, at least {lowest}")


def one_for_each(key: str, value: Any, count: int) -> list[Any]:
    """Return a list of ``count`` values from one value, or from a list of that length.

    Raises:
        ConfigError: the list has another length.
    """
    values = list(value) if isinstance(value, list | tuple) else [value] * count
    if len(values) != count:
        raise ConfigError(f"{key}={value}: must be one value or a list of {count}, one for each")
    return values


def hidden_layers(
    in_features: int, hidden_dims: list[int], activation: str, dropout: Any, batch_norm: bool
) -> list[nn.Module]:
    """Return linear layers, each with its optional batch norm, activation and optional dropout.

    Raises:
        ConfigError: the activation is unknown, or dropout has another length than ``hidden_dims``.
    """
    activate = ACTIVATIONS[one_of("model.activation", activation, ACTIVATIONS)]
    layers: list[nn.Module] = []
    at_least("model.hidden_dims", hidden_dims, 1)
    rates = one_for_each("model.dropout", dropout, len(hidden_dims))
    for width, rate in zip(hidden_dims, rates, strict=True):
        if not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise ConfigError(f"model.dropout={dropout}: must be at least 0 and below 1")
        layers.append(nn.Linear(in_features, width))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(activate())
        if rate:
            layers.append(nn.Dropout(rate))
        in_features = width
    return layers
