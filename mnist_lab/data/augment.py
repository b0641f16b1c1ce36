"""Augmentations: random changes to whole batches, which keep the shape and type of the images.

All random numbers are drawn on the CPU from the generator that is passed in, so that a batch is
the same on every device and a resumed run draws what the unbroken one would have drawn.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

DEGREES = 12.0  # rotation, either way
SHIFT = 0.1  # fraction of the image's side, either way
ZOOM = 0.1  # fraction of the image's size, either way
SHEAR = 0.15  # tangent of the shear angle, either way
ALPHA = 36.0  # largest displacement before it is smoothed, in pixels; about 1.2 after it
SIGMA = 5.0  # standard deviation of the Gaussian that smooths it, in pixels


def affine(
    images: Tensor,
    generator: Generator,
    *,
    degrees: float = DEGREES,
    shift: float = SHIFT,
    zoom: float = ZOOM,
    shear: float = SHEAR,
) -> Tensor:
    """Rotate, shift, zoom and shear each image by its own random amount.

    Args:
        images: ``(B, C, H, W)`` uint8 or floats.
        generator: the CPU generator that the amounts are drawn from.
        degrees: largest rotation, either way, 0 to 180.
        shift: largest shift, either way, as a fraction of the image's side, 0 to 1.
        zoom: largest change of each side's length, either way, as a fraction of it, 0 to 0.9.
        shear: largest tangent of the shear angle, either way, 0 to 1.
    """
    draws = torch.rand(6, images.shape[0], generator=generator) * 2 - 1
    angle, shift_x, shift_y, zoom_x, zoom_y, lean = draws
    angle = angle * math.radians(degrees)
    cos, sin = angle.cos(), angle.sin()
    zoom_x, zoom_y, lean = 1 + zoom * zoom_x, 1 + zoom * zoom_y, shear * lean
    # The grid spans -1 to 1, twice the fraction that the shift is given in.
    rows = (
        torch.stack((zoom_x * cos, lean - zoom_x * sin, 2 * shift * shift_x), dim=1),
        torch.stack((zoom_y * sin, zoom_y * cos, 2 * shift * shift_y), dim=1),
    )
    theta = torch.stack(rows, dim=1).to(images.device)  # (B, 2, 3)
    return _sample(images, F.affine_grid(theta, list(images.shape), align_corners=False))


def elastic(
    images: Tensor, generator: Generator, *, alpha: float = ALPHA, sigma: float = SIGMA
) -> Tensor:
    """Bend each image by a smooth random displacement of its own.

    Source: Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to
    visual document analysis", ICDAR 2003; strength and smoothness as in Ciresan et al., "Deep, big,
    simple neural nets for handwritten digit recognition", 2010, which keep digits more legible.

    Args:
        images: ``(B, C, H, W)`` uint8 or floats.
        generator: the CPU generator that the displacements are drawn from.
        alpha: largest displacement before it is smoothed, in pixels, 0 to 1,000.
        sigma: standard deviation of the Gaussian that smooths it, in pixels, 0.1 to 100.
    """
    batch, _, height, width = images.shape
    noise = torch.rand(batch, 2, height, width, generator=generator) * 2 - 1
    # Both smoothings as products with a matrix, which is 10 times as fast as convolutions.
    field = _gaussian(height, sigma) @ noise @ _gaussian(width, sigma)
    pixels = (alpha * field).to(images.device).permute(0, 2, 3, 1)  # (B, H, W, 2), x then y
    identity = torch.eye(2, 3, device=images.device).expand(batch, 2, 3)
    grid = F.affine_grid(identity, list(images.shape), align_corners=False)
    return _sample(images, grid + pixels * (2 / width))


def random_crop(images: Tensor, generator: Generator, *, padding: int = 2) -> Tensor:
    """Frame each image with black and cut it out again at a random place, by whole pixels.

    Args:
        images: ``(B, C, H, W)`` uint8 or floats.
        generator: the CPU generator that the places are drawn from.
        padding: width of the frame in pixels, 0 to 28.
    """
    height, width = images.shape[2:]
    corners = torch.randint(2 * padding + 1, (2, len(images), 1, 1, 1), generator=generator)
    row, column = corners.to(images.device)
    framed = F.pad(images, (padding,) * 4)
    at = torch.arange(max(images.shape), device=images.device)
    channel = at[: images.shape[1], None, None]
    number = at[: len(images), None, None, None]
    return framed[number, channel, row + at[:height, None], column + at[:width]]


def cutout(images: Tensor, generator: Generator, *, size: int = 8) -> Tensor:
    """Blacken a square of each image, which may reach beyond its edges.

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with
    cutout", 2017.

    Args:
        images: ``(B, C, H, W)`` uint8 or floats.
        generator: the CPU generator that the places are drawn from.
        size: side of the square in pixels, 1 to 28.
    """
    inside = []
    for side in images.shape[2:]:
        middle = torch.randint(side, (len(images), 1), generator=generator)
        distance = torch.arange(side) - (middle - size // 2)
        inside.append(((distance >= 0) & (distance < size)).to(images.device))
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (B, 1, H, W)
    return images.masked_fill(square, 0)


def _gaussian(side: int, sigma: float) -> Tensor:
    """Return the matrix ``(side, side)`` that smooths along one axis; outside the image is zero."""
    at = torch.arange(float(side))
    distance = (at[:, None] - at) / sigma
    return torch.exp(-(distance**2) / 2) / (sigma * math.sqrt(2 * math.pi))


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    moved = F.grid_sample(images.float(), grid, mode="bilinear", align_corners=False)
    return (moved.round_() if images.dtype == torch.uint8 else moved).to(images.dtype)
