"""Convolutional network of few parameters: batch norm, and global average pooling at its end."""

from typing import Any, Unpack, final

import torch
from torch import Tensor, nn

from mnist_lab.errors import ConfigError
from mnist_lab.models.arguments import DROPOUT, KERNEL_SIZE, SIZE
from mnist_lab.models.classifier import Classifier, SharedArgs
from mnist_lab.models.layers import activation_layer, check_range, one_for_each, sizes


@final
class GlobalPoolCNN(Classifier):
    """Convolutions with batch norm; the mean over the pixels of the last feeds one linear layer.

    Sources: global average pooling: Lin, Chen and Yan, 2014 (arXiv:1312.4400); depthwise separable
    convolutions: Howard et al., 2017 (arXiv:1704.04861); residual connections: He et al., 2015
    (arXiv:1512.03385).

    Args:
        channels: channels of each convolution, or a number for one.
        kernel_size: side of the kernels in pixels, odd, or a list with one for each convolution.
        pool: side of the max pooling after each convolution, or a list; 1 is none.
        separable: whether each convolution after the first is one within each channel and one of
            1x1 across them.
        residual: whether each convolution that keeps the number of channels is added to its input.
        activation: after each convolution: relu, gelu, silu, tanh, sigmoid or identity.
        dropout: probability that a mean is left out before the linear layer.
        shared: the arguments of ``Classifier``.

    Raises:
        ConfigError: an argument is unknown or out of its range.
    """

    gains_by_bf16 = True

    def __init__(
        self,
        channels: list[int] | tuple[int, ...] | int = (8, 12, 16, 16, 16),
        kernel_size: Any = 3,
        pool: Any = (1, 1, 2, 2, 1),
        separable: bool = False,
        residual: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
        **shared: Unpack[SharedArgs],
    ) -> None:
        super().__init__(**shared)
        widths = sizes("model.channels", channels)
        check_range("model.kernel_size", kernel_size, KERNEL_SIZE)
        check_range("model.pool", pool, SIZE)
        check_range("model.dropout", dropout, DROPOUT, float)
        kernels = one_for_each("model.kernel_size", kernel_size, len(widths))
        pools = one_for_each("model.pool", pool, len(widths))
        layers: list[nn.Module] = []
        width, side = self.in_shape[0], min(self.in_shape[1:])
        for out, kernel, pooled in zip(widths, kernels, pools, strict=True):
            block = _convolution(width, out, kernel, separable and bool(layers), activation)
            layers.append(_Residual(block) if residual and width == out else block)
            if pooled > 1:
                layers.append(nn.MaxPool2d(pooled))
            width, side = out, side // pooled
            if side == 0:
                pixels = min(self.in_shape[1:])
                raise ConfigError(f"model.pool={pool}: pools {pixels} pixels down to nothing")
        self.net = nn.Sequential(
            *layers,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Linear(width, self.num_classes),
        )
        self.initialize()
        self.net.to(memory_format=torch.channels_last)


def _convolution(
    inputs: int, outputs: int, kernel: int, separable: bool, activation: str
) -> nn.Sequential:
    """Return a convolution that keeps the size, with batch norm in place of a bias."""
    options: dict[str, Any] = {"padding": kernel // 2, "bias": False}
    if separable:
        across = nn.Conv2d(inputs, outputs, 1, bias=False)
        parts = [nn.Conv2d(inputs, inputs, kernel, groups=inputs, **options), across]
    else:
        parts = [nn.Conv2d(inputs, outputs, kernel, **options)]
    return nn.Sequential(*parts, nn.BatchNorm2d(outputs), activation_layer(activation))


class _Residual(nn.Module):
    """Adds what a block computes to its input."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C, H, W)`` for the same."""
        total: Tensor = x + self.block(x)
        return total
