"""Images that are corrupt, malicious, or not images, and a few that only look odd."""

import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

_SVG = (
    b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b'<svg xmlns="http://www.w3.org/2000/svg"><text>&x;</text></svg>'
)
_EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n(%pipe%touch evidence) (w) file\n"


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(
    width: int,
    height: int,
    data: bytes = b"",
    *more: tuple[bytes, bytes],
    depth: int = 8,
    color: int = 0,
) -> bytes:
    """Return a PNG that claims a size and a kind of colour, whatever pixels it has."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*chunks, strict=True)))


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def _zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1_000_000)) for _ in range(count // 1_000_000 + 1)]
    return b"".join(parts) + packer.flush()


def _frames(kind: str, **options: object) -> bytes:
    frames = [Image.new("L", (40, 40), shade) for shade in (0, 120, 255)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def _text_bomb() -> bytes:
    text = b"Comment\0\0" + _zeros(80_000_000)
    return png(28, 28, zlib.compress(bytes(29 * 28)), (b"zTXt", text))


def _many_scans(good: bytes) -> bytes:
    """Return a progressive JPEG that repeats its last scan a thousand times."""
    last = good.rindex(b"\xff\xda")
    return good[:last] + good[last:-2] * 1000 + b"\xff\xd9"


def bad_contents() -> dict[str, bytes]:
    """Return the bytes of bad images by the name of the file that they pretend to be."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 50, 3), dtype=np.uint8)
    color = Image.fromarray(noise)
    good = {
        "png": saved(color, "PNG"),
        "jpg": saved(color, "JPEG"),
        "webp": saved(color, "WEBP", lossless=True),
        "bmp": saved(color, "BMP"),
        "gif": saved(color.convert("P"), "GIF"),
        "tif": saved(color, "TIFF", compression="tiff_lzw"),
    }
    chance = random.Random(0)
    bad: dict[str, bytes] = {}
    for kind, content in good.items():
        bad[f"empty.{kind}"] = b""
        bad[f"one-byte.{kind}"] = content[:1]
        bad[f"header.{kind}"] = content[:20]
        bad[f"half.{kind}"] = content[: len(content) // 2]
        bad[f"random.{kind}"] = chance.randbytes(2000)
    progressive = saved(Image.new("L", (64, 64)), "JPEG", progressive=True)
    info = PngImagePlugin.PngInfo()
    for number in range(3):
        info.add_text(f"key{number}", "x" * 30_000_000, zip=True)
    return bad | {
        "bomb-20000.png": png(20_000, 20_000, _zeros(20_000 * 20_001)),
        "bomb-13000.png": png(13_000, 13_000, _zeros(13_000 * 13_001)),
        "claims-4-billion.png": png(2**31 - 1, 2**31 - 1),
        "claims-a-row.png": png(2**31 - 1, 1),
        "claims.bmp": b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
        "claims.gif": b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\x00\x00\x00,"
        + struct.pack("<HHHH", 0, 0, 65535, 65535)
        + b"\x00\x02\x00;",
        "bomb.tif": saved(Image.new("1", (19_000, 19_000)), "TIFF", compression="group4"),
        "bomb.webp": saved(
            Image.new("RGB", (16_000, 4_000)), "WEBP", lossless=True, method=0, quality=0
        ),
        "many-scans.jpg": _many_scans(progressive),
        "text-bomb.png": _text_bomb(),
        "texts.png": saved(Image.new("L", (28, 28)), "PNG", pnginfo=info),
        "no-pixels.png": png(28, 28),
        **{
            f"no-palette-{depth}.png": png(
                32, 32, zlib.compress(bytes(32 * (1 + 4 * depth))), depth=depth, color=3
            )
            for depth in (1, 2, 4, 8)
        },
        "no-palette-alpha.png": png(
            28, 28, zlib.compress(bytes(29 * 28)), (b"tRNS", b"\0"), color=3
        ),
        "no-width.png": png(0, 28, zlib.compress(bytes(29))),
        "one-pixel.png": saved(Image.new("L", (1, 1)), "PNG"),
        "a-line.png": saved(Image.new("L", (4000, 1)), "PNG"),
        "checksum.png": good["png"][:-20] + b"\0\0\0\0" + good["png"][-16:],
        "svg.png": _SVG,
        "svg.svg": _SVG,
        "html.png": b"<!doctype html><script>alert(1)</script>" * 50,
        "text.jpg": b"a three\n",
        "eps.png": _EPS,
        "pdf.png": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
        "zip.png": b"PK\x03\x04" + bytes(200),
        "ico.png": saved(Image.new("RGB", (32, 32)), "ICO"),
        "ppm.png": saved(Image.new("RGB", (28, 28)), "PPM"),
        "psd.png": b"8BPS\0\x01" + bytes(300),
        "animated.gif": _frames("GIF"),
        "animated.png": _frames("PNG"),
        "animated.webp": _frames("WEBP"),
        "pages.tif": _frames("TIFF"),
    }


def bad_places(folder: Path) -> dict[str, Callable[[Path], object]]:
    """Return what makes each thing that is no file to read, by name."""
    huge = 30_000_000_000

    def sparse(path: Path) -> None:
        with open(path, "wb") as file:
            file.truncate(huge)

    return {
        "fifo.png": os.mkfifo,
        "device.png": lambda path: path.symlink_to("/dev/zero"),
        "loop.png": lambda path: path.symlink_to(path),
        "gone.png": lambda path: path.symlink_to(folder / "nowhere"),
        "missing.png": lambda _: None,
        "huge.png": sparse,
        "no-permission.png": lambda path: (path.write_bytes(b"x"), path.chmod(0)),
        "folder.png": Path.mkdir,
        "empty-folder": Path.mkdir,
        "no-match-*.png": lambda _: None,
    }


def make_bad_images(folder: Path) -> list[Path]:
    """Make them all in a folder."""
    made = []
    for name, content in bad_contents().items():
        (folder / name).write_bytes(content)
        made.append(folder / name)
    for name, make in bad_places(folder).items():
        make(folder / name)
        made.append(folder / name)
    return made
