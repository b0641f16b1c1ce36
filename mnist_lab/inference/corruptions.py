"""The 15 corruptions of MNIST-C, made from test images; strengths are the lab's own, one each.

Source: Mu and Gilmer, "MNIST-C: a robustness benchmark for computer vision", 2019
(arXiv:1906.02337). Theirs is a file of images; these are made by other code with other numbers, so
that accuracies can be compared among the lab's runs and not with published ones.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torchvision.transforms.v2.functional import gaussian_blur

_LINE = 0.8  # half of the width of a drawn line, in pixels


def corrupted(images: Tensor, name: str, seed: int = 0) -> Tensor:
    """Return ``(N, 1, H, W)`` uint8 images with one of ``CORRUPTIONS``, drawn from the seed."""
    generator = Generator().manual_seed(seed)
    changed = CORRUPTIONS[name](images.float() / 255, generator)
    return changed.clamp(0, 1).mul(255).round().to(torch.uint8)


def moved(
    images: Tensor,
    degrees: Tensor | float = 0.0,
    zoom: Tensor | float = 1.0,
    shear: Tensor | float = 0.0,
    right: Tensor | float = 0.0,
    down: Tensor | float = 0.0,
) -> Tensor:
    """Rotate, zoom, shear and shift images; each amount is one for all or ``(N,)``.

    Args:
        images: ``(N, 1, H, W)`` floats.
        degrees: rotation against the clock.
        zoom: size of the digit against its own.
        shear: tangent of the angle.
        right: shift in pixels.
        down: shift in pixels.
    """
    amounts = (degrees, zoom, shear, right, down)
    turn, zoom, shear, right, down = (torch.as_tensor(x).expand(len(images)) for x in amounts)
    cos, sin = (turn * math.pi / 180).cos() / zoom, (turn * math.pi / 180).sin() / zoom
    x, y = -2 * right / images.shape[3], -2 * down / images.shape[2]
    rows = [(cos, shear - sin, cos * x + (shear - sin) * y), (sin, cos, sin * x + cos * y)]
    theta = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # (N, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _uniform(images: Tensor, generator: Generator, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(len(images), generator=generator)


def _sign(images: Tensor, generator: Generator) -> Tensor:
    return torch.randint(2, (len(images),), generator=generator) * 2.0 - 1


def _shot_noise(images: Tensor, generator: Generator) -> Tensor:
    """Photons: a Poisson number of them, 5 for a white pixel."""
    return torch.poisson(images * 5, generator=generator) / 5


def _impulse_noise(images: Tensor, generator: Generator) -> Tensor:
    """A tenth of the pixels black and a tenth white."""
    draws = torch.rand(images.shape, generator=generator)
    return images.masked_fill(draws < 0.1, 0.0).masked_fill(draws > 0.9, 1.0)


def _glass_blur(images: Tensor, generator: Generator) -> Tensor:
    """Each pixel from up to 2 pixels beside, between two Gaussian blurs of 0.6 pixels."""
    count, _, height, width = images.shape
    steps = torch.randint(-2, 3, (2, count, height, width), generator=generator)
    rows = (torch.arange(height)[:, None] + steps[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + steps[1]).clamp(0, width - 1)
    blurred = gaussian_blur(images, [5, 5], [0.6, 0.6])
    taken = blurred.flatten(1).gather(1, (rows * width + columns).flatten(1))
    again: Tensor = gaussian_blur(taken.view(images.shape), [5, 5], [0.6, 0.6])
    return again


def _motion_blur(images: Tensor, generator: Generator) -> Tensor:
    """The mean along 8 pixels in a random direction."""
    angle = _uniform(images, generator, 0, math.pi)
    steps = range(-4, 5)
    shifts = (moved(images, right=angle.cos() * at, down=angle.sin() * at) for at in steps)
    return sum(shifts, torch.zeros_like(images)) / len(steps)


def _shear(images: Tensor, generator: Generator) -> Tensor:
    """A tangent of 0.6, either way."""
    return moved(images, shear=0.6 * _sign(images, generator))


def _scale(images: Tensor, generator: Generator) -> Tensor:
    """0.5 to 0.7 of the size."""
    return moved(images, zoom=_uniform(images, generator, 0.5, 0.7))


def _rotate(images: Tensor, generator: Generator) -> Tensor:
    """20 to 40 degrees, either way."""
    return moved(images, degrees=_sign(images, generator) * _uniform(images, generator, 20, 40))


def _brightness(images: Tensor, _: Generator) -> Tensor:
    """All pixels brighter by half of white."""
    return images + 0.5


def _translate(images: Tensor, generator: Generator) -> Tensor:
    """4 pixels in each direction of the two, either way."""
    right, down = (4 * _sign(images, generator) for _ in range(2))
    return moved(images, right=right, down=down)


def _stripe(images: Tensor, _: Generator) -> Tensor:
    """A quarter of the image, from top to bottom in its middle, as a negative."""
    middle, quarter = images.shape[3] // 2, images.shape[3] // 8
    striped = images.clone()
    part = striped[..., middle - quarter : middle + quarter]
    part.copy_(1 - part)
    return striped


def _fog(images: Tensor, generator: Generator) -> Tensor:
    """Clouds: noise of four sizes, half as strong where half as wide, over a dimmed image."""
    clouds = torch.zeros_like(images)
    for octave in range(4):
        noise = torch.rand(
            len(images), 1, 2 ** (octave + 1), 2 ** (octave + 1), generator=generator
        )
        sides = (images.shape[2], images.shape[3])
        clouds += 0.5**octave * F.interpolate(noise, sides, mode="bilinear", align_corners=True)
    return 0.5 * images + 0.35 * clouds


def _spatter(images: Tensor, generator: Generator) -> Tensor:
    """Drops: where blurred noise is above 1.6 standard deviations, grey or brighter."""
    noise = torch.randn(images.shape, generator=generator)
    drops = gaussian_blur(noise, [7, 7], [1.2, 1.2])
    drops = drops / drops.std(dim=(2, 3), keepdim=True)
    return torch.maximum(images, ((drops - 1.2) * 1.2).clamp(0, 0.9) * (drops > 1.6))


def _on_line(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return how far pixels are along and beside a random line through the middle, in pixels."""
    height, width = images.shape[2:]
    angle = _uniform(images, generator, 0, math.pi)[:, None, None]
    off = _uniform(images, generator, -5, 5)[:, None, None]
    down, right = torch.arange(height)[:, None] - height / 2, torch.arange(width) - width / 2
    along = right * angle.cos() + down * angle.sin()
    return along, down * angle.cos() - right * angle.sin() - off  # each (N, H, W)


def _dotted_line(images: Tensor, generator: Generator) -> Tensor:
    """A white line of dashes and gaps of 2 pixels through the image."""
    along, beside = _on_line(images, generator)
    drawn = (beside.abs() < _LINE) & (along % 4 < 2)
    return images.masked_fill(drawn[:, None], 1.0)


def _zigzag(images: Tensor, generator: Generator) -> Tensor:
    """A white line that goes 3 pixels to either side every 6 pixels."""
    along, beside = _on_line(images, generator)
    wave = (along % 12 - 6).abs() - 3
    drawn = (beside - wave).abs() < _LINE * math.sqrt(2)
    return images.masked_fill(drawn[:, None], 1.0)


def _canny_edges(images: Tensor, _: Generator) -> Tensor:
    """Edges by Canny, 1986: the largest slopes across themselves, with what hangs on to them."""
    slope = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    kernels = torch.stack((slope, slope.T))[:, None]
    smooth = F.pad(gaussian_blur(images, [5, 5], [1.0, 1.0]), (1, 1, 1, 1), mode="replicate")
    across, down = F.conv2d(smooth, kernels).unbind(1)  # each (N, H, W)
    size = torch.hypot(across, down)
    sector = (torch.atan2(down, across) / (math.pi / 4)).round().long() % 4
    framed = F.pad(size, (1, 1, 1, 1))
    height, width = size.shape[1:]
    is_ridge = torch.zeros_like(size, dtype=torch.bool)
    for number, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = framed[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width]
        behind = framed[:, 1 - y : 1 - y + height, 1 - x : 1 - x + width]
        is_ridge |= (sector == number) & (size >= ahead) & (size > behind)
    edges, weak = is_ridge & (size > 0.2), is_ridge & (size > 0.1)
    for _step in range(8):  # an edge is followed no further than this
        near = F.max_pool2d(edges.float()[:, None], 3, stride=1, padding=1)[:, 0] > 0
        edges = edges | (weak & near)
    return edges.float()[:, None]


CORRUPTIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    function.__name__.removeprefix("_"): function
    for function in (
        *(_shot_noise, _impulse_noise, _glass_blur, _motion_blur, _shear),
        *(_scale, _rotate, _brightness, _translate, _stripe),
        *(_fog, _spatter, _dotted_line, _zigzag, _canny_edges),
    )
}
"""Each takes ``(N, 1, H, W)`` floats from 0 to 1 and a generator, and may leave that range."""
