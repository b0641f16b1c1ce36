"""Images that may be corrupt, malicious, or not images."""

from pathlib import Path

import numpy as np
import pytest
from hostile_images import make_bad_images, saved
from PIL import Image

from mnist_lab.errors import InputError, printable
from mnist_lab.files import images


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_bad_images(tmp_path_factory.mktemp("bad"))


@pytest.mark.thorough
def test_each_bad_image_is_one_line_that_names_it(bad: list[Path]) -> None:
    assert len(bad) > 20
    for path in bad:
        with pytest.raises(InputError) as raised:
            images.read_image(path)
        assert "\n" not in str(raised.value), path
        assert printable(path) in str(raised.value)


@pytest.mark.parametrize("kind", images.FORMATS)
def test_each_format_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "without_a_suffix"
    path.write_bytes(saved(Image.new("L", (28, 28), 200), kind))
    assert images.read_image(path).size == (28, 28)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "transparent", "I;16"])
def test_an_image_is_turned_upright_in_any_mode(mode: str, tmp_path: Path) -> None:
    upright = Image.new("L", (60, 40), 255)
    upright.paste(0, (5, 5, 15, 35))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    if mode == "transparent":
        ink = Image.new("RGBA", turned.size)
        ink.putalpha(turned.point(lambda value: 255 - value))
        turned = ink
    elif mode == "I;16":
        turned = Image.fromarray(np.asarray(turned).astype(np.uint16) * 257)
    else:
        turned = turned.convert(mode)
    turned.save(tmp_path / "turned.png", exif=exif)
    found = images.to_rgb(images.read_image(tmp_path / "turned.png"))
    assert found.convert("L").tobytes() == upright.tobytes()
