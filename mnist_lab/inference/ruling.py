"""Takes lines that were printed on paper out of the ink: of ruled and squared sheets, and boxes."""

import numpy as np
from scipy import ndimage

from mnist_lab.inference.ink import WEAK, Array

_SLOPES = np.arange(-0.1, 0.101, 0.01)  # of lines on paper that was held askew
_THICKEST = 7  # pixels of a line
_SMALLEST = 28  # pixels of a box's side
_RULES = 4  # parallel lines that make ruled paper
_TOUCHING = np.ones((3, 3))


def without_lines(ink: Array) -> Array:
    """Return ink, ``(H, W)`` from 0 to 1, without the paper's lines and printed boxes."""
    clear = ink.copy()
    labels, _ = ndimage.label(ink > WEAK, _TOUCHING)
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        is_inside = all(s.start > 0 and s.stop < n for s, n in zip(box, ink.shape, strict=True))
        if not is_inside or min(side.stop - side.start for side in box) < _SMALLEST:
            continue
        lines = lines_across(np.where(labels[box] == number, clear[box], 0), is_box=True)
        sides = [np.asarray(lines.any(axis=axis)) for axis in (1, 0)]
        is_box = all(s[: len(s) // 4].any() and s[-len(s) // 4 :].any() for s in sides)
        rest = np.where(lines, 0, clear[box])
        if is_box and rest.sum() > 0.2 * clear[box].sum():  # else it is a zero
            clear[box] = rest
    clear[lines_across(clear)] = 0
    return clear


def lines_across(ink: Array, is_box: bool = False) -> Array:
    """Return the mask of thin straight lines from edge to edge, but for what strokes cover.

    Args:
        ink: ``(H, W)`` from 0 to 1.
        is_box: whether only lines of nearly the full width or height count, and strokes may stick
            out beyond them.
    """
    return _rows_across(ink, is_box) | _rows_across(ink.T, is_box).T


def _rows_across(ink: Array, is_box: bool) -> Array:
    """Return the mask of the lines that are closer to horizontal."""
    thickest = max(2, min(ink.shape) // 12) if is_box else _THICKEST
    pad = ink.shape[1] // 10 + 4  # so that no line leaves at the top and comes back from below
    ink = np.pad(ink, ((pad, pad), (0, 0)))
    height, width = ink.shape
    rows, columns = np.nonzero(ink > WEAK)
    places = [(rows - np.rint(slope * columns)).astype(int) % height for slope in _SLOPES]
    sharpness = [np.square(np.bincount(place)).sum() for place in places]
    shift = np.rint(_SLOPES[int(np.argmax(sharpness))] * np.arange(width)).astype(int)
    down, across = np.arange(height)[:, None], np.arange(width)
    level = ink[(down + shift) % height, across]  # in which the lines are rows
    mask = (level > WEAK).astype(np.uint8)
    thick = ndimage.grey_opening((level > WEAK / 2).astype(np.uint8), size=(thickest + 1, 1))
    # A line that is fainter than strokes is told from noise by its mean along it.
    mean = ndimage.uniform_filter1d(np.where(thick, 0, level), 9, mode="constant")
    thin = (mean > WEAK / 2).astype(np.uint8)
    thin = ndimage.grey_closing(thin, size=(1, 9), mode="constant")
    joined = ndimage.grey_dilation(thin, size=(3, 1))
    reach = width // 2 if is_box else width // 5
    straight = ndimage.grey_opening(joined, size=(1, max(8, reach)))
    # A stroke that crosses a line does not end it.
    labels, _ = ndimage.label(ndimage.grey_dilation(straight, size=(5, 2 * width)), np.ones((3, 3)))
    lines, long = [], 0
    for number, (place, _) in enumerate(ndimage.find_objects(labels), 1):
        columns = np.flatnonzero((straight[place] & (labels[place] == number)).any(axis=0))
        margin = 0.2 * width if is_box else 0.01 * width + 4
        ends = columns[0] <= margin, columns[-1] >= width - 1 - margin
        if all(ends):
            lines.append(number)
        long += any(ends) and columns[-1] - columns[0] > 0.4 * width
    is_ruled = long >= _RULES and not is_box
    line = (labels > 0 if is_ruled else np.isin(labels, lines)) & (mask > 0)
    certain = line & (straight > 0)
    if not certain.any():
        return np.asarray(certain[pad:-pad])
    starts = line & ~np.roll(line, 1, axis=0)
    width_of_line = int(1.5 * line.sum() / starts.sum()) + 2
    stroke = ndimage.grey_opening(mask, size=(width_of_line, 1)) > 0
    stroke |= level > np.percentile(level[certain], 95) + 0.15
    return np.asarray((line & ~stroke)[(down - shift) % height, across][pad:-pad])
