"""Convolutions of images of one channel, as products of matrices.

torch.func has torch compute K of them as one grouped convolution, of one channel a group. On a GPU
that takes kernels for depthwise convolutions, whose gradient of the weights is slow: on an H200
they are 4 of the 10 ms of a step of 64 default CNNs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class OneChannelAsProduct(TorchFunctionMode):
    """Computes two-dimensional convolutions of one input channel, and hands on all other calls."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take the place of a call of torch's."""
        if func is F.conv2d and not kwargs and len(args) == 7:  # as torch.nn.Conv2d calls it
            images, weight, _, _, padding, *_ = args
            if images.ndim == 4 and images.shape[1] == 1 and not isinstance(padding, str):
                return _product(images, weight, *args[2:6])
        return func(*args, **(kwargs or {}))


def _product(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Return ``(B, O, H', W')`` for images ``(B, 1, H, W)`` and weights ``(O, 1, h, w)``."""
    device = images.device.type
    if torch.is_autocast_enabled(device):
        images = images.to(torch.get_autocast_dtype(device))  # before there are h w times as many
    rows, columns = padding
    padded = F.pad(images[:, 0], (columns, columns, rows, rows))
    sides = [
        (size - step * (side - 1) - 1) // by + 1
        for size, side, by, step in zip(
            padded.shape[1:], weight.shape[2:], stride, dilation, strict=True
        )
    ]
    shifted = [
        padded[:, _every(row, dilation[0], stride[0], sides[0])][
            ..., _every(column, dilation[1], stride[1], sides[1])
        ]
        for row in range(weight.shape[2])
        for column in range(weight.shape[3])
    ]
    pixels = torch.stack(shifted).flatten(1)  # (h w, B H' W')
    filters = weight.flatten(1)  # (O, h w)
    product = filters @ pixels if bias is None else torch.addmm(bias[:, None], filters, pixels)
    return product.view(-1, len(images), *sides).transpose(0, 1)


def _every(place: int, step: int, stride: int, count: int) -> slice:
    """Return where the pixels stand that a weight is multiplied with, along one side."""
    start = place * step
    return slice(start, start + stride * (count - 1) + 1, stride)
