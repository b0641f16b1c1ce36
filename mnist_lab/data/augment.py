"""Random changes to whole training batches: affine and elastic.

All random numbers are drawn on the CPU from the generator that is passed in, so that a batch is
the same on every device and a resumed run draws what the unbroken one would have drawn.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Augment = Callable[[Tensor, Generator], Tensor]

DEGREES = 12.0  # rotation, either way
SHIFT = 0.1  # fraction of the image's side, either way
ZOOM = 0.1  # fraction of the image's size, either way
SHEAR = 0.15  # tangent of the shear angle, either way
ALPHA = 36.0  # largest displacement before it is smoothed, in pixels; about 1.2 after it
SIGMA = 5.0  # standard deviation of the Gaussian that smooths it, in pixels


def affine(images: Tensor, generator: Generator) -> Tensor:
    """Rotate, shift, zoom and shear each image by its own random amount.

    Args:
        images: ``(B, 1, 28, 28)`` uint8.
        generator: the CPU generator that the amounts are drawn from.

    Returns:
        ``(B, 1, 28, 28)`` uint8.
    """
    draws = torch.rand(6, images.shape[0], generator=generator) * 2 - 1
    angle, shift_x, shift_y, zoom_x, zoom_y, shear = draws
    angle = angle * math.radians(DEGREES)
    cos, sin = angle.cos(), angle.sin()
    zoom_x, zoom_y, shear = 1 + ZOOM * zoom_x, 1 + ZOOM * zoom_y, SHEAR * shear
    # The grid spans -1 to 1, twice the fraction that SHIFT is given in.
    rows = (
        torch.stack((zoom_x * cos, shear - zoom_x * sin, 2 * SHIFT * shift_x), dim=1),
        torch.stack((zoom_y * sin, zoom_y * cos, 2 * SHIFT * shift_y), dim=1),
    )
    theta = torch.stack(rows, dim=1).to(images.device)  # (B, 2, 3)
    return _sample(images, F.affine_grid(theta, list(images.shape), align_corners=False))


def elastic(images: Tensor, generator: Generator) -> Tensor:
    """Bend each image by a smooth random displacement of its own.

    Source: Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to
    visual document analysis", ICDAR 2003; strength and smoothness as in Ciresan et al., "Deep, big,
    simple neural nets for handwritten digit recognition", 2010, which keep digits more legible.

    Args:
        images: ``(B, 1, 28, 28)`` uint8.
        generator: the CPU generator that the displacements are drawn from.

    Returns:
        ``(B, 1, 28, 28)`` uint8.
    """
    batch, _, height, width = images.shape
    noise = torch.rand(batch, 2, height, width, generator=generator) * 2 - 1
    # Both smoothings as products with a matrix, which is 10 times as fast as convolutions.
    field = _gaussian(height) @ noise @ _gaussian(width)
    pixels = (ALPHA * field).to(images.device).permute(0, 2, 3, 1)  # (B, 28, 28, 2), x then y
    identity = torch.eye(2, 3, device=images.device).expand(batch, 2, 3)
    grid = F.affine_grid(identity, list(images.shape), align_corners=False)
    return _sample(images, grid + pixels * (2 / width))


def _gaussian(side: int) -> Tensor:
    """Return the matrix ``(side, side)`` that smooths along one axis; outside the image is zero."""
    at = torch.arange(float(side))
    distance = (at[:, None] - at) / SIGMA
    return torch.exp(-(distance**2) / 2) / (SIGMA * math.sqrt(2 * math.pi))


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    moved = F.grid_sample(images.float(), grid, mode="bilinear", align_corners=False)
    return moved.round_().to(torch.uint8)
