"""Makes of any picture of a digit what MNIST is made of.

MNIST's digits were scaled into a box of 20 x 20 with their aspect kept, and then moved within
28 x 28 so that their centre of mass is in the middle (http://yann.lecun.com/exdb/mnist/). In all of
them the longer side is 19 or 20 pixels and the centre of mass within half a pixel of (14, 14).
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
_SEARCHED = 512  # pixels of a side that a digit is looked for in
_FOUND = 80  # pixels of a digit's longer side, below which it is looked at again from nearer
_FAINT = 12  # of 255: contrast below which there is nothing
_WEAK, _STRONG = 0.15, 0.5  # ink that belongs to a stroke, and that makes one
_EDGE = 0.3  # ink at which a stroke of a large picture begins, half-way up its soft edge
_THIN = 1.5  # pixels within the box; few of MNIST's strokes are thinner
_DEEPEST = 2  # looks from nearer


def to_mnist(image: Image.Image) -> Array:
    """Return the digit in a picture as ``(28, 28) uint8``, light on dark; zeros if there is none.

    What is an MNIST image already is returned as it is, byte for byte.

    Args:
        image: a picture of any size and mode; a large one is reduced first.
    """
    flat = _flat(image)
    pixels = np.asarray(flat)
    if pixels.shape[:2] == (SIDE, SIDE):
        channels = pixels.reshape(SIDE, SIDE, -1)
        if (channels == channels[..., :1]).all():
            for gray in (channels[..., 0], 255 - channels[..., 0]):
                if _is_mnist(gray):
                    return gray.copy()
    digit = _cut_out(flat)
    return np.zeros((SIDE, SIDE), np.uint8) if digit is None else _centered(digit)


def in_form_of(dataset: str, image: Image.Image) -> Array:
    """Return a picture as the images of a set are, ``(28, 28) uint8``.

    Only MNIST's have a digit that is cut out and centred by mass. A picture of 28 x 28 for a model
    of another set is taken for one of that set, and left as it is.

    Args:
        dataset: the set that the model was trained on.
        image: a picture of any size and mode.
    """
    if dataset != "mnist" and image.size == (SIDE, SIDE):
        return np.array(_flat(image).convert("L"))
    return to_mnist(image)


def _is_mnist(gray: Array) -> bool:
    rows, columns = _extent(gray > 0)
    longer = max(rows.stop - rows.start, columns.stop - columns.start)
    if longer not in (BOX - 1, BOX) or (gray == 0).mean() < 0.5:
        return False
    return all(abs(place - SIDE / 2) < 0.51 for place in ndimage.center_of_mass(gray))


# --- any mode to gray or RGB


def _flat(image: Image.Image) -> Image.Image:
    """Return a picture upright, without transparency, as L or RGB, at most ``_LARGEST`` a side."""
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    elif image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("LA", "La", "PA", "RGBa") or image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode != "L":
        image = image.convert("L" if image.mode == "1" else "RGB")
    if (factor := -(-max(image.size) // _LARGEST)) > 1:
        image = image.reduce(factor)
    if image.mode == "RGBA":
        image = _on_paper(image)
    return ImageOps.exif_transpose(image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a picture of 16 or 32 bits as L; the scale is that of the smallest camera it fits."""
    values = np.asarray(image)
    factor = -(-max(image.size) // _LARGEST)
    if factor > 1:
        height, width = (max(1, side // factor) for side in values.shape)
        values = values[: height * factor, : width * factor]
        blocks = values.reshape(height, min(factor, image.height), width, -1)
        values = blocks.mean(axis=(1, 3), dtype=np.float32)
    values = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    values = values - min(0.0, float(values.min()))
    top = float(values.max())
    scale = next((one for one in (1.0, 255.0, 4095.0, 65535.0) if top <= one), top)
    return Image.fromarray((values * (255 / scale)).astype(np.uint8))


def _on_paper(image: Image.Image) -> Image.Image:
    """Lay a picture with transparency on what its digit stands out from.

    Where most of it is transparent, what is seen is ink, and the paper is its opposite. Else what
    is seen has its own paper, with which the rest is filled.
    """
    alpha = np.asarray(image.getchannel("A"))
    seen = np.asarray(image.convert("RGB"))[alpha > alpha.max() / 2]
    if alpha.max() == 0:
        return Image.new("L", image.size)
    if len(seen) > alpha.size / 2:
        paper = tuple(int(value) for value in np.median(seen, axis=0))
    else:
        paper = (255, 255, 255) if seen.mean() < 128 else (0, 0, 0)
    under = Image.new("RGBA", image.size, (*paper, 255))
    return Image.alpha_composite(under, image).convert("RGB")


# --- ink and paper


def _ink(pixels: Array) -> Array | None:
    """Return ``(H, W)`` from 0, paper, to 1, ink; None where nothing stands out.

    Ink is what differs from the paper in the direction, among colours, in which most of it does, so
    that dark on light, light on dark and red on green are all the same.

    Args:
        pixels: ``(H, W, C)`` uint8.
    """
    values = pixels.astype(np.float32)
    frame = _frame(values.shape[:2])
    differences = values - _paper(values, frame)
    smooth = (
        ndimage.uniform_filter(differences, size=(3, 3, 1)) if frame.size > 1024 else differences
    )
    distances = np.linalg.norm(smooth, axis=2)
    direction = smooth[distances >= 0.5 * distances.max()].mean(axis=0)
    length = float(np.linalg.norm(direction))
    if length == 0:
        return None
    ink = np.clip(differences @ (direction / length) / np.sqrt(values.shape[2]), 0, None)
    noise = 3 * float(np.median(ink[frame]))
    strong = ink[ink > 0.5 * ink.max()]
    full = float(np.percentile(strong, 90 if noise else 100)) if len(strong) else 0.0
    if full - noise < max(_FAINT, noise):
        return None
    return np.asarray(np.clip((ink - noise) / (full - noise), 0, 1))


def _frame(shape: tuple[int, ...]) -> Array:
    """Return where the outermost pixels are, which are paper but for a few."""
    width = max(1, round(0.04 * min(shape)))
    frame = np.ones(shape, bool)
    frame[width:-width, width:-width] = False
    return frame


def _paper(values: Array, frame: Array) -> Array:
    """Return the paper's colour, or its shading over a photo as a surface of second order."""
    if min(values.shape[:2]) <= 2 * SIDE:
        return _end_of_scale(values, frame)
    outer = values[frame]
    color = np.median(outer, axis=0)
    if np.percentile(np.abs(outer - color).max(axis=1), 75) <= 2:
        return color
    rows, columns = np.mgrid[-1 : 1 : values.shape[0] * 1j, -1 : 1 : values.shape[1] * 1j]
    ones = np.ones_like(rows)
    terms = (ones, rows, columns, rows * columns, rows**2, columns**2)
    surface = np.stack(terms, axis=2).astype(np.float32)
    # From the frame at first, and then from all that is near to what it says.
    kept = frame
    for _ in range(4):
        solution, *_ = np.linalg.lstsq(surface[kept], values[kept], rcond=None)
        paper = surface @ solution
        away = np.abs(values - paper).max(axis=2)
        kept = away <= max(4.0, 2.5 * float(np.median(away[kept])))
    return np.asarray(paper)


def _end_of_scale(values: Array, frame: Array) -> Array:
    """Return the paper's colour in a picture that a digit may fill: the darkest or the lightest."""
    grays = values.mean(axis=2)
    dark, light = np.percentile(grays, (2, 98))
    is_dark = np.median(grays[frame]) < (dark + light) / 2
    near = np.abs(grays - (dark if is_dark else light)) <= 0.1 * (light - dark)
    return np.asarray(np.median(values[near], axis=0))


# --- where the digit is


def _cut_out(image: Image.Image, depth: int = 0) -> Array | None:
    """Return the digit's ink, cut out close; None if nothing is found."""
    factor = max(1, -(-max(image.size) // _SEARCHED))
    small = image.reduce(factor) if factor > 1 else image
    pixels = np.asarray(small)
    ink = _ink(pixels.reshape(*pixels.shape[:2], -1))
    found = None if ink is None else _strokes(ink)
    if ink is None or found is None:
        return None
    rows, columns = _extent(found)
    longer = max(rows.stop - rows.start, columns.stop - columns.start)
    if depth < _DEEPEST:
        nearer = None
        if _is_sheet(found, rows, columns):
            nearer = _around(image, rows, columns, factor, -0.06)
        elif factor > 1 and longer < _FOUND:
            nearer = _around(image, rows, columns, factor, 0.5)
        if nearer is not None:
            inner = _cut_out(nearer, depth + 1)
            if inner is not None:
                return inner
    # The soft edge of a stroke belongs to it.
    soft = ndimage.binary_dilation(found, iterations=1 + longer // 40)
    ink = np.where(soft, ink, 0)
    rows, columns = _extent(ink > (0 if longer <= SIDE and _is_clean(ink, found) else _EDGE))
    return ink[rows, columns]


def _is_clean(ink: Array, found: Array) -> bool:
    """Return whether no pixel is faint but those beside a stroke: it is no photo, and no JPEG."""
    beside = ndimage.binary_dilation(found, structure=np.ones((3, 3)))
    return not ink[~beside].any()


def _strokes(ink: Array) -> Array | None:
    """Return where the digit's strokes are: the shape of most ink, with what is close to it."""
    labels, count = ndimage.label(ink > _WEAK, structure=np.ones((3, 3)))
    if not count:
        return None
    numbers = np.arange(1, count + 1)
    sums = ndimage.sum_labels(ink, labels, numbers)
    tops = ndimage.maximum(ink, labels, numbers)
    boxes = ndimage.find_objects(labels)
    scores = np.where(tops > _STRONG, sums, 0)
    if min(ink.shape) > 2 * SIDE:  # what runs off a large picture is a shadow or the paper's edge
        inside = np.array([not _touches(box, ink.shape) for box in boxes])
        if (scores * inside).max() > 0.02 * scores.max():
            scores = scores * inside
    if scores.max() <= 0:
        return None
    main = int(scores.argmax())
    rows, columns = boxes[main]
    reach = 0.15 * max(rows.stop - rows.start, columns.stop - columns.start)
    kept = [
        number
        for number, score, box in zip(numbers, scores, boxes, strict=True)
        if score > 0.03 * scores[main] and _gap(box, boxes[main]) <= reach
    ]
    return np.isin(labels, kept)


def _touches(box: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    return any(one.start == 0 or one.stop == side for one, side in zip(box, shape, strict=True))


def _gap(one: tuple[slice, ...], other: tuple[slice, ...]) -> int:
    """Return the pixels between two boxes in rows or columns, whichever is more."""
    gaps = [max(b.start - a.stop, a.start - b.stop, 0) for a, b in zip(one, other, strict=True)]
    return int(max(gaps))


def _is_sheet(found: Array, rows: slice, columns: slice) -> bool:
    """Return whether a shape is so large and solid that it is paper on which a digit may be."""
    box = found[rows, columns]
    is_large = box.size > 0.2 * found.size and min(box.shape) > 0.4 * max(box.shape)
    return bool(is_large and box.mean() > 0.75)


def _around(
    image: Image.Image, rows: slice, columns: slice, factor: int, margin: float
) -> Image.Image | None:
    """Return a part of a picture with a margin, a share of the part's longer side."""
    edges = (columns.start, rows.start, columns.stop, rows.stop)
    left, top, right, bottom = (edge * factor for edge in edges)
    more = round(margin * max(right - left, bottom - top))
    box = (
        max(0, left - more),
        max(0, top - more),
        min(image.width, right + more),
        min(image.height, bottom + more),
    )
    if box[2] - box[0] < SIDE or box[3] - box[1] < SIDE or box == (0, 0, *image.size):
        return None
    return image.crop(box)


def _extent(mask: Array) -> tuple[slice, slice]:
    """Return the rows and columns from the first to the last that hold something."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


# --- as MNIST was made


def _centered(digit: Array) -> Array:
    """Scale a digit that is cut out close into the box, and centre it by mass."""
    box = _in_box(digit)
    height, width = box.shape
    down, across = ndimage.center_of_mass(box)
    top = min(max(round(SIDE / 2 - down), 0), SIDE - height)
    left = min(max(round(SIDE / 2 - across), 0), SIDE - width)
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[top : top + height, left : left + width] = np.rint(box * 255)
    return pixels


def _in_box(digit: Array) -> Array:
    longer = max(digit.shape)
    if BOX - 2 <= longer <= BOX:  # it has the size already, and scaling would only blur it
        return digit
    if longer > 8 * BOX:  # enough to see how wide a stroke is
        digit = _resized(digit, 8 * BOX)
        longer = 8 * BOX
    digit = _resized(_thickened(digit, longer), BOX)
    return np.asarray(np.clip(digit / digit.max(), 0, 1))


def _thickened(digit: Array, longer: int) -> Array:
    """Widen strokes that would be fainter than MNIST's once they are scaled."""
    stroke = digit > _STRONG
    if not stroke.any():
        return digit
    # A bar that is w wide has distances 1, 2, ... w/2 ... 2, 1 to its edges.
    width = max(1.0, 4 * float(ndimage.distance_transform_edt(stroke)[stroke].mean()) - 2)
    radius = (_THIN * longer / BOX - width) / 2
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
