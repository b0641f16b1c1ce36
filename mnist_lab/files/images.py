"""Reads images that may be corrupt, malicious, or not images at all.

A file's header is checked before its pixels are decoded, and only the decoders of the formats named
here ever run, whatever the file is called.
"""

import base64
import glob
import io
import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from mnist_lab.errors import InputError, first_line, printable
from mnist_lab.files.regular import read_regular

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_BYTES = 64_000_000  # of a file
MAX_PIXELS = 36_000_000  # of an image; with transparency they are 144 MB
_MAX_JPEG_PIXELS = 170_000_000  # of a JPEG, of whose blocks of 8 x 8 one pixel can be decoded
_ENOUGH = 1024  # pixels of a JPEG's side that are asked for; 1 to 2 times as many come
_MAX_SCANS = 64  # of a progressive JPEG, each of which is a pass over all pixels
_LARGEST = 2048  # pixels of a side of what is made of an image
SIDE = 28  # pixels of a model's input
_MIN_SIDE = 4  # pixels, below which no digit can be recognised


def read_image(path: Path) -> Image.Image:
    """Read an image file.

    Raises:
        InputError: the file cannot be read, or ``decode_image`` refuses it.
    """
    name = printable(path)
    return decode_image(read_regular(path, MAX_BYTES, name), name)


def decode_image(content: bytes | bytearray, name: str) -> Image.Image:
    """Decode an image of a file's content, which errors call by a name.

    Raises:
        InputError: it is not an image of these formats, or is corrupt, animated or too large.
    """
    if not content:
        raise InputError(f"{name}: is empty: 0 bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of images that it reads all the same
        try:
            image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
            _check_header(image, content, name)
            if image.format == "JPEG":
                image.draft(None, (_ENOUGH, _ENOUGH))
            image.load()
            if image.mode in ("P", "PA") and image.palette is None:
                raise InputError(
                    f"{name}: corrupt: its pixels name colours of a palette that is missing"
                )
            if image.mode in ("P", "PA"):  # fails where the palette is not what it says
                image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        except InputError:
            raise
        except UnidentifiedImageError:
            raise InputError(
                f"{name}: not an image: {', '.join(FORMATS[:-1])} or {FORMATS[-1]} is required"
            ) from None
        except Image.DecompressionBombError:
            raise InputError(f"{name}: {_too_large(MAX_PIXELS)}") from None
        except MemoryError:
            raise InputError(f"{name}: corrupt: it asks for more memory than there is") from None
        except Exception as error:  # decoders raise a dozen kinds for corrupt bytes
            raise InputError(f"{name}: corrupt: {first_line(error)}") from error
    return image


def _check_header(image: Image.Image, content: bytes | bytearray, name: str) -> None:
    """Refuse an image that takes too long or too much memory to decode, or has several frames."""
    is_jpeg = image.format in ("JPEG", "MPO")  # MPO: a phone's JPEG followed by other images
    limit = MAX_PIXELS
    if is_jpeg and image.info.get("progressive"):
        if (scans := content.count(b"\xff\xda")) > _MAX_SCANS:
            raise InputError(f"{name}: a JPEG of {scans} scans; at most {_MAX_SCANS} are read")
    elif is_jpeg:
        limit = _MAX_JPEG_PIXELS
    if image.width * image.height > limit:
        raise InputError(f"{name}: {image.width} x {image.height}: {_too_large(limit)}")
    check_side(image, name)
    if not is_jpeg and getattr(image, "is_animated", False):
        raise InputError(f"{name}: has several images; save the one that is meant as a PNG")


def check_side(image: Image.Image, name: str) -> None:
    """Check that an image is large enough.

    Raises:
        InputError: no digit can be recognised in so few pixels.
    """
    if min(image.size) < _MIN_SIDE:
        size = f"{image.width} x {image.height}"
        raise InputError(f"{name}: {size}: at least {_MIN_SIDE} x {_MIN_SIDE} is required")


def _too_large(limit: int) -> str:
    return f"at most {limit / 1e6:.0f} million pixels are read; scale it down"


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image upright, in RGB, without transparency, at most ``_LARGEST`` a side."""
    image = ImageOps.exif_transpose(image)  # first: what is made of an image loses the tag
    if image.mode.startswith(("I", "F")):
        image = _to_eight_bits(image)
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if (factor := -(-max(image.size) // _LARGEST)) > 1:
        image = image.reduce(factor)
    if image.mode == "RGBA":
        image = _on_paper(image)
    return image


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


def as_input(
    image: Image.Image, in_shape: tuple[int, int, int] = (1, SIDE, SIDE)
) -> NDArray[np.uint8]:
    """Return an image scaled as a whole to a shape ``(C, H, W)``; what is dark stays dark.

    It is ``(H, W)`` uint8 where C is 1, else ``(H, W, 3)`` in colour.
    """
    channels, height, width = in_shape
    own = to_rgb(image) if channels == 3 else to_rgb(image).convert("L")
    return np.array(own.resize((width, height), Image.Resampling.BILINEAR))


def png(pixels: NDArray[np.uint8], generator: str = "") -> bytes:
    """Return ``(H, W)`` or ``(H, W, 3)`` pixels as a PNG file, which says what has written it."""
    content, text = io.BytesIO(), PngInfo()
    if generator:
        text.add_text("Software", generator)
    Image.fromarray(pixels).save(content, "PNG", pnginfo=text)
    return content.getvalue()


def data_url(pixels: NDArray[np.uint8]) -> str:
    """Return ``(H, W)`` or ``(H, W, 3)`` pixels as a PNG in a URL that a page can hold."""
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"


def find_images(places: list[str]) -> list[Path | InputError]:
    """Return the files that are meant, in order and each once, and an error for what names none.

    Args:
        places: files, folders, of which all images are meant, and patterns such as ``scans/*.png``.
    """
    images: list[Path | InputError] = []
    for place in places:
        path, problem = Path(place), ""
        if os.path.isdir(place):
            paths = _images_below(path)
            problem = f"no image that can be read in this folder ({', '.join(SUFFIXES)})"
        elif not os.path.lexists(place) and glob.has_magic(place):
            matches = sorted(glob.glob(place, recursive=True))
            paths = [Path(match) for match in matches if not os.path.isdir(match)]
            problem = "no file matches"
        else:
            paths = [path]
        images += paths or [InputError(f"{printable(path)}: {problem}")]
    return list(dict.fromkeys(images))


def _images_below(folder: Path) -> list[Path]:
    """Return the images in a folder and those below; links to folders are not followed."""
    paths = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        paths += [Path(parent, name) for name in sorted(names) if name.lower().endswith(SUFFIXES)]
    return paths
