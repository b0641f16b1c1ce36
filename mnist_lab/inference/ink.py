"""Separates ink from paper in an image of any kind: photos, drawings, ruled sheets, forms."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

Array = NDArray[Any]

WEAK, STRONG = 0.15, 0.5  # ink that belongs to a stroke, and that makes one
SMALL_IMAGE = 56  # pixels of the shorter side, up to which a digit may fill an image
_FAINT = 12  # of 255: contrast below which there is nothing
_EVEN = 0.04  # share of the contrast by which the border of evenly lit paper may vary


def sheet_within(image: Image.Image) -> Image.Image:
    """Return the sheet of paper that lies on something else in an image; the image if none does."""
    factor = max(1, max(image.size) // 128)
    values = np.asarray(image.reduce(factor), np.float32)
    distances = np.abs(values - np.median(_border(values), axis=0)).max(axis=2)
    labels, _ = ndimage.label(distances > 0.5 * distances.max())
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        shape = labels[rows, columns] == number
        is_inside = rows.start > 0 and columns.start > 0
        is_inside &= rows.stop < labels.shape[0] and columns.stop < labels.shape[1]
        is_large = shape.size > 0.2 * labels.size and min(shape.shape) > 0.4 * max(shape.shape)
        if is_inside and is_large and shape.mean() > 0.75:
            less = round(0.06 * max(shape.shape))
            left, right = (columns.start + less) * factor, (columns.stop - less) * factor
            top, bottom = (rows.start + less) * factor, (rows.stop - less) * factor
            return image.crop((left, top, right, bottom))
    return image


def find_ink(image: Image.Image) -> Array | None:
    """Return ``(H, W)`` of an RGB image, from 0, paper, to 1, ink; None where nothing stands out.

    Ink is what differs from the paper along the colour axis in which most of it does, so that dark
    on light, light on dark and red on green are all the same.
    """
    values = np.asarray(image, np.float32)
    is_small = min(image.size) <= SMALL_IMAGE
    color = _one_color(values)
    differences = _from_local_paper(image, values) if color is None else values - color
    smooth = differences if is_small else ndimage.uniform_filter(differences, size=(3, 3, 1))
    distances = np.linalg.norm(smooth, axis=2)
    axis = smooth[distances >= 0.5 * distances.max()].mean(axis=0)
    if not axis.any():
        return None
    ink = np.clip(differences @ (axis / np.linalg.norm(axis)) / np.sqrt(3), 0, None)
    noise = 3 * float(np.median(ink if color is None else _border(ink)))
    strong = ink[ink > 0.5 * ink.max()]
    full = float(np.percentile(strong, 90 if noise else 100)) if len(strong) else 0.0
    if full - noise < max(_FAINT, noise):
        return None
    return np.asarray(np.clip((ink - noise) / (full - noise), 0, 1))


def _one_color(values: Array) -> Array | None:
    """Return the paper's colour; None where lines, shadows or the light vary it at the border."""
    border = _border(values)
    if min(values.shape[:2]) > SMALL_IMAGE:
        color = np.median(border, axis=0)
        spread = np.percentile(np.abs(border - color).max(axis=1), 95)
        return color if spread <= _EVEN * np.abs(values - color).max() else None
    grays = values.mean(axis=2)  # in which a digit may reach the border
    dark, light = np.percentile(grays, (2, 98))
    end = dark if np.median(_border(grays)) < (dark + light) / 2 else light
    return np.asarray(np.median(values[np.abs(grays - end) <= 0.1 * (light - dark)], axis=0))


def _border(values: Array) -> Array:
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _from_local_paper(image: Image.Image, values: Array) -> Array:
    """Return the difference to the paper around each pixel, as if it were lit evenly.

    A closing fills what is dark and narrower than a stroke can be, and leaves the edges of shadows
    and of the sheet where they are; an opening does so with what is light.
    """
    coarse = np.log(20 + np.asarray(image.reduce(max(1, max(image.size) // 32)), np.float32))
    smooth = np.asarray(image.filter(ImageFilter.MedianFilter(3)), np.float32)
    width = round(0.35 * min(image.size))
    channels = []
    for channel in range(3):
        small = coarse[..., channel]
        contrast = small - ndimage.median_filter(small, max(3, round(0.4 * min(small.shape))))
        is_dark = float((contrast**3).sum()) < 0
        fill = ndimage.grey_closing if is_dark else ndimage.grey_opening
        paper = fill(smooth[..., channel], size=(width, width), mode="nearest")
        difference = (paper - values[..., channel]) * (1 if is_dark else -1)
        light = (20 + np.median(paper)) / (20 + paper)
        channels.append(np.clip(difference, 0, None) * np.clip(light, 0, 2.5))
    return np.stack(channels, axis=2)
