"""Photos of MNIST test digits on paper that has lines, a box or a shadow on it."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Color = tuple[int, int, int]
Chance = np.random.Generator

_LINES = (
    (120, 150, 200),
    (150, 150, 155),
    (225, 130, 130),
    (60, 60, 70),
    (25, 25, 30),
    (120, 180, 140),
)
_INKS = ((20, 20, 25), (25, 35, 110), (45, 45, 50), (120, 20, 25))
_PAPERS = ((250, 250, 248), (235, 232, 220), (222, 226, 232))
_DARK = ((28, 32, 30), (25, 55, 45), (40, 42, 60))
_CHALKS = ((240, 240, 235), (245, 230, 140), (200, 225, 245))


def _pick(chance: Chance, colors: Sequence[Color]) -> Color:
    return colors[int(chance.integers(len(colors)))]


def _sheet(chance: Chance, color: Color) -> Image.Image:
    size = int(chance.integers(420, 900)), int(chance.integers(380, 700))
    return Image.new("RGB", size, color)


def _rule(sheet: Image.Image, chance: Chance, line: Color, ways: str) -> None:
    """Draw lines of one pitch, turned by up to three degrees, across a sheet and beyond."""
    pitch = float(chance.uniform(0.05, 0.16) * min(sheet.size))
    width = int(chance.integers(1, 4))
    slope = float(np.tan(np.deg2rad(chance.uniform(-3, 3))))
    pen = ImageDraw.Draw(sheet)
    for start in np.arange(-0.2 * sheet.height, 1.2 * sheet.height, pitch) if "-" in ways else ():
        pen.line([(0, start), (sheet.width, start + slope * sheet.width)], line, width)
    for start in np.arange(-0.2 * sheet.width, 1.2 * sheet.width, pitch) if "|" in ways else ():
        pen.line([(start, 0), (start - slope * sheet.height, sheet.height)], line, width)


def _margin(sheet: Image.Image, chance: Chance) -> None:
    if chance.random() < 0.5:
        x = 0.08 * sheet.width
        ImageDraw.Draw(sheet).line([(x, 0), (x + 9, sheet.height)], (215, 90, 100), 2)


def _write(
    sheet: Image.Image, chance: Chance, digits: Sequence[np.ndarray], ink: Color, side: int
) -> tuple[int, int]:
    """Write digits in a row somewhere on a sheet; return where it begins."""
    step = round(0.9 * side)
    left = int(chance.integers(round(0.1 * sheet.width), sheet.width - step * len(digits) - 20))
    top = int(chance.integers(8, sheet.height - side - 8))
    for number, digit in enumerate(digits):
        image = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
        stroke = image.point(lambda value: min(255, max(0, round((value - 70) * 2.2))))
        jump = int(chance.integers(-side // 25, side // 25 + 1)) if len(digits) > 1 else 0
        sheet.paste(ink, (left + number * step, top + jump), stroke)
    return left, top


def _photographed(sheet: Image.Image, chance: Chance, shadow: float = 0) -> Image.Image:
    """Return a photo: lit from one side, slightly blurred, with noise, as a JPEG."""
    width, height = sheet.size
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 0.92 + 0.07 * float(chance.uniform(-1, 1)) * columns
    if shadow:
        angle, offset = chance.uniform(0, 2 * np.pi), chance.uniform(-0.4, 0.4)
        light *= np.where(np.cos(angle) * columns + np.sin(angle) * rows > offset, 1, shadow)
    blurred = sheet.filter(ImageFilter.GaussianBlur(float(chance.uniform(0, 1))))
    values = np.asarray(blurred, np.float32) * light[..., None]
    values += chance.normal(0, float(chance.uniform(0.5, 5)), values.shape)
    buffer = io.BytesIO()
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=80)
    return Image.open(buffer)


def _side(sheet: Image.Image, chance: Chance, count: int) -> int:
    largest = min(0.8 * sheet.height, 0.8 * sheet.width / (0.9 * count + 0.2))
    return round(float(chance.uniform(0.5, 1)) * largest)


def lined(ways: str) -> Callable[[Chance, Sequence[np.ndarray]], Image.Image]:
    def draw(chance: Chance, digits: Sequence[np.ndarray]) -> Image.Image:
        sheet = _sheet(chance, _pick(chance, _PAPERS))
        _rule(sheet, chance, _pick(chance, _LINES), ways)
        _margin(sheet, chance)
        _write(sheet, chance, digits, _pick(chance, _INKS), _side(sheet, chance, len(digits)))
        return _photographed(sheet, chance)

    return draw


def dark_ruled(chance: Chance, digits: Sequence[np.ndarray]) -> Image.Image:
    sheet = _sheet(chance, _pick(chance, _DARK))
    _rule(sheet, chance, _pick(chance, ((90, 100, 110), (120, 120, 120), (80, 120, 90))), "-")
    _write(sheet, chance, digits, _pick(chance, _CHALKS), _side(sheet, chance, len(digits)))
    return _photographed(sheet, chance)


def boxed(chance: Chance, digits: Sequence[np.ndarray]) -> Image.Image:
    """A printed box for each digit, side by side as on a form."""
    sheet = _sheet(chance, _pick(chance, _PAPERS))
    side = _side(sheet, chance, len(digits))
    left, top = _write(sheet, chance, digits, _pick(chance, _INKS), side)
    pen, line = ImageDraw.Draw(sheet), _pick(chance, (*_LINES, (15, 15, 15)))
    width, step = int(chance.integers(2, 6)), round(0.9 * side)
    for number in range(len(digits)):
        x = left + number * step + 0.1 * side
        pen.rectangle((x, top + 0.02 * side, x + step, top + 0.98 * side), None, line, width)
    return _photographed(
        sheet.rotate(float(chance.uniform(-3, 3)), fillcolor=sheet.getpixel((2, 2))), chance
    )


def shadowed(chance: Chance, digits: Sequence[np.ndarray]) -> Image.Image:
    sheet = _sheet(chance, _pick(chance, _PAPERS))
    _write(sheet, chance, digits, _pick(chance, _INKS), _side(sheet, chance, len(digits)))
    return _photographed(sheet, chance, shadow=float(chance.uniform(0.4, 0.7)))


def plain(chance: Chance, digits: Sequence[np.ndarray]) -> Image.Image:
    sheet = _sheet(chance, _pick(chance, _PAPERS))
    _write(sheet, chance, digits, _pick(chance, _INKS), _side(sheet, chance, len(digits)))
    return _photographed(sheet, chance)


PAPERS: dict[str, Callable[[Chance, Sequence[np.ndarray]], Image.Image]] = {
    "plain": plain,
    "ruled": lined("-"),
    "squared": lined("-|"),
    "dark ruled": dark_ruled,
    "boxed": boxed,
    "hard shadow": shadowed,
}
