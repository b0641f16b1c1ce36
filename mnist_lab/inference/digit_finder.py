"""Finds the digits in an image of any kind, and brings them into the form of MNIST's images.

MNIST's digits were scaled into a box of 20 x 20 pixels with their aspect kept, and then moved
within 28 x 28 so that their centre of mass is in the middle (http://yann.lecun.com/exdb/mnist/). In
all of them the longer side is 19 or 20 pixels and the centre of mass within half a pixel of
(14, 14).
"""

import numpy as np
from PIL import Image
from scipy import ndimage

from mnist_lab.files.images import SIDE, as_input, to_rgb
from mnist_lab.inference.ink import SMALL_IMAGE, STRONG, WEAK, Array, find_ink, sheet_within
from mnist_lab.inference.ruling import lines_across, without_lines

BOX = 20  # pixels that the digit fits into
MOST = 100  # digits of an image; where there are more shapes it is a texture
_SEARCHED = 512  # pixels of a side that digits are searched in
_SMALL = 80  # pixels of a digit's longer side, below which it is cut from the image itself
_EDGE = 0.3  # ink at which a stroke of a large image begins, half-way up its soft edge
_THIN = 1.5  # pixels within the box; few of MNIST's strokes are thinner
_AS_MNIST = ("mnist", "qmnist")  # sets whose images all have the form above
_DIGITS = (*_AS_MNIST, "usps", "emnist", "digits")
_SHAPES = ("fashion_mnist", "kmnist", "kuzushiji49")  # one thing an image, perhaps in parts
_TOUCHING = np.ones((3, 3))  # pixels that touch at a corner are of one shape
Box = tuple[slice, ...]


def to_inputs(
    image: Image.Image, dataset: str = "mnist", in_shape: tuple[int, int, int] = (1, SIDE, SIDE)
) -> list[Array]:
    """Return the digits in an image as ``(28, 28) uint8`` each, light on dark; zeros for none.

    They come row by row, from left to right. An MNIST image is returned as it is, byte for byte; an
    image of 28 x 28 is left as it is where the set is another one. Of letters and garments the one
    of most ink is taken. For a set that is none of these the image is scaled as a whole.

    Args:
        image: an image of any size and mode; a large one is reduced first.
        dataset: the set that the model was trained on; ``digits`` is a set of digits of one's own.
        in_shape: of the images of a set that is scaled as a whole, as ``as_input`` takes it.
    """
    if dataset not in _DIGITS + _SHAPES:
        return [as_input(image, in_shape)]
    rgb = to_rgb(image)
    is_input = rgb.size == (SIDE, SIDE)
    if is_input and dataset not in _AS_MNIST:
        return [np.array(rgb.convert("L"))]
    if is_input:
        red, green, blue = np.moveaxis(np.asarray(rgb), 2, 0)
        if (red == green).all() and (red == blue).all():
            for gray in (red, 255 - red):
                if _is_mnist(gray):
                    return [np.array(gray)]
    digits = _cut_out(rgb, several=dataset in _DIGITS and not is_input)
    return [_centered(digit) for digit in digits] or [np.zeros((SIDE, SIDE), np.uint8)]


def _is_mnist(gray: Array) -> bool:
    box = _bounding_box(gray > 0)
    if _longer(box) not in (BOX - 1, BOX) or (gray == 0).mean() < 0.5:
        return False
    return all(abs(center - SIDE / 2) < 0.51 for center in ndimage.center_of_mass(gray))


# --- where the digits are


def _cut_out(image: Image.Image, several: bool) -> list[Array]:
    """Return each digit's ink within its bounding box."""
    if min(image.size) > SMALL_IMAGE:
        image = sheet_within(image)
    factor = max(1, -(-max(image.size) // _SEARCHED))
    ink = find_ink(image.reduce(factor))
    if ink is None:
        return []
    if min(ink.shape) > SMALL_IMAGE:
        ink = without_lines(ink)
    digits = []
    for strokes in _digits(ink, several and max(image.size) > SIDE):
        longer = _longer(_bounding_box(strokes))
        near = ndimage.binary_dilation(strokes, iterations=1 + longer // 40)
        # The soft edge of a stroke belongs to it; in a photo or a JPEG only its darker half.
        is_clean = not np.any(ink[near & ~ndimage.binary_dilation(strokes, _TOUCHING)])
        own = np.where(near, ink, 0)
        if factor > 1 and longer < _SMALL:
            own = _from_the_image(image, near, factor)
        digits.append(own[_bounding_box(own > (0 if longer <= SIDE and is_clean else _EDGE))])
    return [digit for digit in digits if digit.size]


def _from_the_image(image: Image.Image, near: Array, factor: int) -> Array:
    """Return a small digit's ink in the resolution of the image."""
    rows, columns = _bounding_box(ndimage.binary_dilation(near, iterations=_SMALL // 4))
    left, top = columns.start * factor, rows.start * factor
    right, bottom = min(columns.stop * factor, image.width), min(rows.stop * factor, image.height)
    ink = find_ink(image.crop((left, top, right, bottom)))
    if ink is None:
        return np.zeros((1, 1))
    mask = near[rows, columns].repeat(factor, axis=0).repeat(factor, axis=1)
    mask = mask[: ink.shape[0], : ink.shape[1]]
    return np.where(mask & ~lines_across(ink), ink, 0)


def _digits(ink: Array, several: bool) -> list[Array]:
    """Return the mask of each digit: shapes of much ink, with the smaller ones close to them."""
    labels, count = ndimage.label(ink > WEAK, _TOUCHING)
    if not count:
        return []
    numbers = np.arange(1, count + 1)
    scores = ndimage.sum_labels(ink, labels, numbers)
    scores[ndimage.maximum(ink, labels, numbers) <= STRONG] = 0
    if min(ink.shape) > SMALL_IMAGE:  # what runs off a large image is a shadow or the paper's edge
        sides = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
        along = [side[0] for side in sides if (side == side[0]).all()]
        scores[np.isin(numbers, along)] = 0
        inside = np.where(np.isin(numbers, np.concatenate(sides)), 0, scores)
        if inside.max() > 0.02 * scores.max():
            scores = inside
    if scores.max() <= 0:
        return []
    order = [int(number) for number in np.argsort(-scores) if scores[number] > 0.03 * scores.max()]
    boxes = ndimage.find_objects(labels)
    groups = _grouped(order, boxes, several)
    if len(groups) > MOST:
        return []
    return [np.isin(labels, np.array(group) + 1) for group in _in_reading_order(groups, boxes)]


def _grouped(order: list[int], boxes: list[Box], several: bool) -> list[list[int]]:
    """Return the shapes of each digit: one of much ink, then the parts that are close to it."""
    heights = [box[0].stop - box[0].start for box in boxes]
    groups: list[list[int]] = []
    for number in order:
        box = boxes[number]
        for group in groups:
            main = boxes[group[0]]
            is_tall = heights[number] > 0.7 * heights[group[0]]
            is_own = several and is_tall and _overlap(box[1], main[1]) < 0.3
            if not is_own and _gap(box, main) <= 0.15 * _longer(main):
                group.append(number)
                break
        else:
            if not groups or (several and heights[number] >= 0.4 * heights[order[0]]):
                groups.append([number])
    return groups


def _in_reading_order(groups: list[list[int]], boxes: list[Box]) -> list[list[int]]:
    rows: list[list[list[int]]] = []
    bottom = 0
    for group in sorted(groups, key=lambda group: boxes[group[0]][0].start):
        side = boxes[group[0]][0]
        if not rows or (side.start + side.stop) / 2 > bottom:
            rows.append([])
            bottom = side.stop
        rows[-1].append(group)
    return [group for row in rows for group in sorted(row, key=lambda one: boxes[one[0]][1].start)]


def _overlap(side: slice, other: slice) -> float:
    """Return the share of the shorter of two sides that lies within the other."""
    common = min(side.stop, other.stop) - max(side.start, other.start)
    return float(max(0, common) / min(side.stop - side.start, other.stop - other.start))


def _gap(box: Box, other: Box) -> int:
    """Return the number of rows or columns between two boxes, whichever is more."""
    pairs = zip(box, other, strict=True)
    return int(max(0, *(max(b.start - a.stop, a.start - b.stop) for a, b in pairs)))


def _bounding_box(mask: Array) -> Box:
    """Return the rows and columns from the first to the last that hold something."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    return boxes[0] if boxes else (slice(0, 0), slice(0, 0))


def _longer(box: Box) -> int:
    return int(max(side.stop - side.start for side in box))


# --- as MNIST was made


def _centered(digit: Array) -> Array:
    """Scale a digit that is cut out into the box, and centre it by mass."""
    if not BOX - 2 <= max(digit.shape) <= BOX:  # scaling what has the size already only blurs it
        if max(digit.shape) > 8 * BOX:  # enough to see how wide a stroke is
            digit = _resized(digit, 8 * BOX)
        digit = _resized(_thickened(digit), BOX)
        digit = np.clip(digit / digit.max(), 0, 1)
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    places = []
    for center, side in zip(ndimage.center_of_mass(digit), digit.shape, strict=True):
        start = min(max(round(SIDE / 2 - center), 0), SIDE - side)
        places.append(slice(start, start + side))
    pixels[tuple(places)] = np.rint(digit * 255)
    return pixels


def _thickened(digit: Array) -> Array:
    """Widen strokes that would be fainter than MNIST's once they are scaled into the box."""
    stroke = digit > STRONG
    if not stroke.any():
        return digit
    # A bar that is w wide has distances 1, 2, ... w/2 ... 2, 1 to its edges.
    width = max(1.0, 4 * float(ndimage.distance_transform_edt(stroke)[stroke].mean()) - 2)
    radius = (_THIN * max(digit.shape) / BOX - width) / 2
    if radius < 0.5:
        return digit
    reach = int(np.ceil(radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = rows**2 + columns**2 <= radius**2 + 0.5
    return np.asarray(ndimage.grey_dilation(np.pad(digit, reach), footprint=disk))


def _resized(digit: Array, longer: int) -> Array:
    scale = longer / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    image = Image.fromarray(digit.astype(np.float32))
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(np.clip(np.asarray(resized), 0, 1))
