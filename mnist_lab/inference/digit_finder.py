"""Finds the digit in an image of any kind, and brings it into the form of MNIST's images.

MNIST's digits were scaled into a box of 20 x 20 pixels with their aspect kept, and then moved
within 28 x 28 so that their centre of mass is in the middle (http://yann.lecun.com/exdb/mnist/). In
all of them the longer side is 19 or 20 pixels and the centre of mass within half a pixel of
(14, 14).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

Array = NDArray[Any]

SIDE = 28  # pixels of an MNIST image
BOX = 20  # pixels that the digit fits into
_LARGEST = 2048  # pixels of a side that a digit is cut from
_SEARCHED = 512  # pixels of a side that a digit is searched in
_SMALL = 80  # pixels of a digit's longer side, below which it is searched again in a crop
_MAX_CROPS = 2
_FAINT = 12  # of 255: contrast below which there is nothing
_WEAK, _STRONG = 0.15, 0.5  # ink that belongs to a stroke, and that makes one
_EDGE = 0.3  # ink at which a stroke of a large image begins, half-way up its soft edge
_THIN = 1.5  # pixels within the box; few of MNIST's strokes are thinner
_TOUCHING = np.ones((3, 3))  # pixels that touch at a corner are of one shape


def to_mnist(image: Image.Image) -> Array:
    """Return the digit in an image as ``(28, 28) uint8``, light on dark; zeros if there is none.

    An MNIST image is returned as it is, byte for byte.

    Args:
        image: an image of any size and mode; a large one is reduced first.
    """
    rgb = _to_rgb(image)
    if rgb.size == (SIDE, SIDE):
        red, green, blue = np.moveaxis(np.asarray(rgb), 2, 0)
        if (red == green).all() and (red == blue).all():
            for gray in (red, 255 - red):
                if _is_mnist(gray):
                    return np.array(gray)
    digit = _cut_out(rgb)
    return np.zeros((SIDE, SIDE), np.uint8) if digit is None else _centered(digit)


def to_input(image: Image.Image, dataset: str) -> Array:
    """Return an image in the form of a data set's own, ``(28, 28) uint8``.

    An image of 28 x 28 is left as it is where the set is not MNIST, whose digits alone are cut out
    and centred by mass.

    Args:
        image: an image of any size and mode.
        dataset: the set that the model was trained on.
    """
    if dataset != "mnist" and image.size == (SIDE, SIDE):
        return np.array(_to_rgb(image).convert("L"))
    return to_mnist(image)


def _is_mnist(gray: Array) -> bool:
    box = _bounding_box(gray > 0)
    if _longer(box) not in (BOX - 1, BOX) or (gray == 0).mean() < 0.5:
        return False
    return all(abs(center - SIDE / 2) < 0.51 for center in ndimage.center_of_mass(gray))


# --- any mode to RGB


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return an image upright, in RGB, without transparency, at most ``_LARGEST`` a side."""
    if image.mode.startswith(("I", "F")):
        image = _to_eight_bits(image)
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if (factor := -(-max(image.size) // _LARGEST)) > 1:
        image = image.reduce(factor)
    if image.mode == "RGBA":
        image = _on_paper(image)
    return ImageOps.exif_transpose(image)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of 16 or 32 bits as L; white is that of the smallest bit depth it fits."""
    values = np.array(image, np.float32)
    np.nan_to_num(values, copy=False, posinf=0, neginf=0)
    values -= min(0.0, float(values.min()))
    top = float(values.max())
    values *= 255 / next((white for white in (1.0, 255.0, 4095.0, 65535.0) if top <= white), top)
    return Image.fromarray(values.astype(np.uint8))


def _on_paper(image: Image.Image) -> Image.Image:
    """Lay an image with transparency on the paper that its digit stands out from.

    Where most of it is transparent, the rest is ink, and the paper is its opposite. Otherwise the
    image has its own paper, with which the transparent rest is filled.
    """
    alpha = np.asarray(image.getchannel("A"))
    if not alpha.any():
        return Image.new("RGB", image.size)
    visible = np.asarray(image)[alpha > alpha.max() / 2, :3]
    if len(visible) > alpha.size / 2:
        paper = tuple(np.median(visible, axis=0).astype(int).tolist())
    else:
        paper = (255, 255, 255) if visible.mean() < 128 else (0, 0, 0)
    under = Image.new("RGBA", image.size, (*paper, 255))
    return Image.alpha_composite(under, image).convert("RGB")


# --- ink and paper


def _ink(image: Image.Image) -> Array | None:
    """Return ``(H, W)`` from 0, paper, to 1, ink; None where nothing stands out.

    Ink is what differs from the paper along the colour axis in which most of it does, so that dark
    on light, light on dark and red on green are all the same.
    """
    values = np.asarray(image, np.float32)
    frame = _frame(values.shape[:2])
    differences = values - _paper(values, frame)
    smooth = differences
    if frame.size > 1024:
        smooth = ndimage.uniform_filter(differences, size=(3, 3, 1))
    distances = np.linalg.norm(smooth, axis=2)
    axis = smooth[distances >= 0.5 * distances.max()].mean(axis=0)
    if not axis.any():
        return None
    ink = np.clip(differences @ (axis / np.linalg.norm(axis)) / np.sqrt(3), 0, None)
    noise = 3 * float(np.median(ink[frame]))
    strong = ink[ink > 0.5 * ink.max()]
    full = float(np.percentile(strong, 90 if noise else 100)) if len(strong) else 0.0
    if full - noise < max(_FAINT, noise):
        return None
    return np.asarray(np.clip((ink - noise) / (full - noise), 0, 1))


def _frame(shape: tuple[int, ...]) -> Array:
    """Return the mask of the outermost pixels, most of which are paper."""
    width = max(1, round(0.04 * min(shape)))
    frame = np.ones(shape, bool)
    frame[width:-width, width:-width] = False
    return frame


def _paper(values: Array, frame: Array) -> Array:
    """Return the paper's colour, or its shading over a photo as a surface of second order."""
    if min(frame.shape) <= 2 * SIDE:
        return _lightest_or_darkest(values, frame)
    color = np.median(values[frame], axis=0)
    if np.percentile(np.abs(values[frame] - color).max(axis=1), 75) <= 2:
        return np.asarray(color)
    rows, columns = np.mgrid[-1 : 1 : frame.shape[0] * 1j, -1 : 1 : frame.shape[1] * 1j]
    terms = (np.ones_like(rows), rows, columns, rows * columns, rows**2, columns**2)
    surface = np.stack(terms, axis=2).astype(np.float32)
    # Fitted to the frame at first, and then to all pixels that are close to the fit.
    fitted = frame
    for _ in range(4):
        solution, *_ = np.linalg.lstsq(surface[fitted], values[fitted], rcond=None)
        paper = surface @ solution
        errors = np.abs(values - paper).max(axis=2)
        fitted = errors <= max(4.0, 2.5 * float(np.median(errors[fitted])))
    return np.asarray(paper)


def _lightest_or_darkest(values: Array, frame: Array) -> Array:
    """Return the paper's colour in an image that a digit may fill."""
    grays = values.mean(axis=2)
    dark, light = np.percentile(grays, (2, 98))
    end = dark if np.median(grays[frame]) < (dark + light) / 2 else light
    return np.asarray(np.median(values[np.abs(grays - end) <= 0.1 * (light - dark)], axis=0))


# --- where the digit is


def _cut_out(image: Image.Image, crops: int = _MAX_CROPS) -> Array | None:
    """Return the digit's ink within its bounding box; None if there is no digit.

    Args:
        image: the image in RGB.
        crops: how often it may be cropped to search again.
    """
    factor = max(1, -(-max(image.size) // _SEARCHED))
    ink = _ink(image.reduce(factor))
    strokes = None if ink is None else _strokes(ink)
    if ink is None or strokes is None:
        return None
    box = _bounding_box(strokes)
    longer = _longer(box)
    if crops:
        crop = None
        if _is_sheet(strokes, box):
            crop = _crop(image, box, factor, -0.06)
        elif factor > 1 and longer < _SMALL:
            crop = _crop(image, box, factor, 0.5)
        if crop is not None and (digit := _cut_out(crop, crops - 1)) is not None:
            return digit
    # The soft edge of a stroke belongs to it; in a photo or a JPEG only its darker half.
    ink = np.where(ndimage.binary_dilation(strokes, iterations=1 + longer // 40), ink, 0)
    is_clean = not np.any(ink[~ndimage.binary_dilation(strokes, _TOUCHING)])
    return ink[_bounding_box(ink > (0 if longer <= SIDE and is_clean else _EDGE))]


def _strokes(ink: Array) -> Array | None:
    """Return the mask of the digit: the shape of most ink, and the shapes close to it."""
    labels, count = ndimage.label(ink > _WEAK, _TOUCHING)
    if not count:
        return None
    numbers = np.arange(1, count + 1)
    scores = ndimage.sum_labels(ink, labels, numbers)
    scores[ndimage.maximum(ink, labels, numbers) <= _STRONG] = 0
    if min(ink.shape) > 2 * SIDE:  # what runs off a large image is a shadow or the paper's edge
        edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        inside = np.where(np.isin(numbers, edges), 0, scores)
        if inside.max() > 0.02 * scores.max():
            scores = inside
    if scores.max() <= 0:
        return None
    boxes = ndimage.find_objects(labels)
    main = boxes[int(scores.argmax())]
    gaps = np.array([_gap(box, main) for box in boxes])
    is_part = (scores > 0.03 * scores.max()) & (gaps <= 0.15 * _longer(main))
    return np.isin(labels, numbers[is_part])


def _gap(box: tuple[slice, ...], other: tuple[slice, ...]) -> int:
    """Return the number of rows or columns between two boxes, whichever is more."""
    pairs = zip(box, other, strict=True)
    return int(max(0, *(max(b.start - a.stop, a.start - b.stop) for a, b in pairs)))


def _is_sheet(strokes: Array, box: tuple[slice, ...]) -> bool:
    """Return whether a shape is so large and solid that it is paper with a digit on it."""
    shape = strokes[box]
    is_large = shape.size > 0.2 * strokes.size and min(shape.shape) > 0.4 * max(shape.shape)
    return bool(is_large and shape.mean() > 0.75)


def _crop(
    image: Image.Image, box: tuple[slice, ...], factor: int, margin: float
) -> Image.Image | None:
    """Return a part of an image with a margin, a share of its longer side; None if too small."""
    rows, columns = box
    more = round(margin * factor * _longer(box))
    left, top = max(0, columns.start * factor - more), max(0, rows.start * factor - more)
    right = min(image.width, columns.stop * factor + more)
    bottom = min(image.height, rows.stop * factor + more)
    if min(right - left, bottom - top) < SIDE or (right - left, bottom - top) == image.size:
        return None
    return image.crop((left, top, right, bottom))


def _bounding_box(mask: Array) -> tuple[slice, ...]:
    """Return the rows and columns from the first to the last that hold something."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    return boxes[0] if boxes else (slice(0, 0), slice(0, 0))


def _longer(box: tuple[slice, ...]) -> int:
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
    stroke = digit > _STRONG
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
