"""Reads pictures that may be damaged, of ill will, or no pictures at all.

What a file claims to be is looked at before its pixels are, and only the decoders of the formats
named here are ever run, whatever the file is called.
"""

import base64
import io
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mnist_lab.errors import InputError, first_line, reason

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_BYTES = 64_000_000  # of a file
MAX_PIXELS = 36_000_000  # of a picture; with transparency they are 144 MB
_MAX_JPEG_PIXELS = 170_000_000  # of a JPEG, of whose blocks of 8 x 8 one pixel can be decoded
_ENOUGH = 1024  # pixels of a JPEG's side that are asked for; 1 to 2 times as many come
_MAX_SCANS = 64  # of a progressive JPEG, each of which is a pass over all pixels
_FEWEST = 4  # pixels of a side in which a digit can be told


def read_image(path: Path) -> Image.Image:
    """Read a picture's file.

    Raises:
        InputError: it cannot be read, is no picture of these formats, is animated or too large.
    """
    return decode_image(_read(path), printable(path))


def decode_image(content: bytes, name: str) -> Image.Image:
    """Decode a picture.

    Args:
        content: a file's bytes.
        name: what to call it in an error.

    Raises:
        InputError: it is no picture of these formats, damaged, animated or too large.
    """
    if not content:
        raise InputError(f"{name}: is empty: 0 bytes")
    with warnings.catch_warnings():
        # Pillow warns of what it reads all the same; sizes are looked at below.
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            _check(image, content, name)
            if image.format == "JPEG":
                image.draft(None, (_ENOUGH, _ENOUGH))
            image.load()
        except InputError:
            raise
        except UnidentifiedImageError:
            raise InputError(
                f"{name}: not a picture: {', '.join(FORMATS[:-1])} or {FORMATS[-1]} is required"
            ) from None
        except Image.DecompressionBombError:
            raise InputError(f"{name}: {_too_large()}") from None
        except MemoryError:
            raise InputError(f"{name}: damaged: it asks for more memory than there is") from None
        except Exception as error:  # decoders raise a dozen kinds for damaged bytes
            raise InputError(f"{name}: damaged: {first_line(error)}") from error
    return image


def _check(image: Image.Image, content: bytes, name: str) -> None:
    """Refuse by its header what would take too long, too much memory, or is no single picture.

    Raises:
        InputError: it is refused.
    """
    is_jpeg = image.format in ("JPEG", "MPO")  # MPO: a phone's JPEG with further pictures behind
    limit = MAX_PIXELS
    if is_jpeg and image.info.get("progressive"):
        if (scans := content.count(b"\xff\xda")) > _MAX_SCANS:
            raise InputError(f"{name}: a JPEG of {scans} scans; at most {_MAX_SCANS} are taken")
    elif is_jpeg:
        limit = _MAX_JPEG_PIXELS
    if image.width * image.height > limit:
        raise InputError(f"{name}: {image.width} x {image.height}: {_too_large(limit)}")
    if min(image.size) < _FEWEST:
        raise InputError(
            f"{name}: {image.width} x {image.height}: at least {_FEWEST} x {_FEWEST} is required"
        )
    if not is_jpeg and getattr(image, "is_animated", False):
        raise InputError(f"{name}: has several pictures; save the one that is meant as a PNG")


def _too_large(limit: int = MAX_PIXELS) -> str:
    return f"at most {limit / 1e6:.0f} million pixels are taken; scale it down"


def _read(path: Path) -> bytes:
    """Return what a file holds; a pipe or a device, which could go on for ever, is not one.

    Raises:
        InputError: it cannot be read, or is no file or too large.
    """
    name = printable(path)
    try:
        # Without O_NONBLOCK, to open a pipe that nobody writes would wait.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{name}: not a file: a picture is required")
            if status.st_size > MAX_BYTES:
                raise InputError(
                    f"{name}: {status.st_size / 1e6:,.0f} MB; at most {MAX_BYTES / 1e6:.0f} MB "
                    "are read; scale the picture down"
                )
            return file.read(MAX_BYTES)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # the latter: a name with a zero byte
        raise InputError(f"{name}: cannot be read: {reason(error)}") from error


def data_address(pixels: NDArray[np.uint8]) -> str:
    """Return ``(H, W)`` pixels as a PNG in an address that a page can hold."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def find_images(places: list[str]) -> Iterator[Path | InputError]:
    """Yield the files that are meant, in order, and an error for what names none.

    Args:
        places: files, folders, whose pictures are all meant, and patterns such as ``scans/*.png``.
    """
    import glob

    for place in places:
        path = Path(place)
        if os.path.isdir(place):
            try:
                os.scandir(place).close()
            except OSError as error:
                yield InputError(f"{printable(path)}: cannot be read: {reason(error)}")
                continue
            found = _inside(path)
            what = f"no picture in this folder ({', '.join(SUFFIXES)})"
        elif not os.path.lexists(place) and glob.has_magic(place):
            matches = sorted(glob.iglob(place, recursive=True))
            found = (Path(one) for one in matches if not os.path.isdir(one))
            what = "no file matches"
        else:
            yield path
            continue
        first = next(found, None)
        if first is None:
            yield InputError(f"{printable(path)}: {what}")
            continue
        yield first
        yield from found


def _inside(folder: Path) -> Iterator[Path]:
    """Yield the pictures in a folder and those below; links to folders are not followed."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES):
                yield Path(parent, name)


def printable(path: Path) -> str:
    """Return a path in one line that a terminal only shows, whatever bytes its name has."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
