"""The files of predict --show."""

from pathlib import Path

import pytest

from mnist_lab.cli.shown_inputs import files_to_show
from mnist_lab.errors import ConfigError


def test_images_of_one_name_have_files_of_their_own(tmp_path: Path) -> None:
    images = [tmp_path / "a/one.png", tmp_path / "b/one.png"]
    files = files_to_show(tmp_path / "seen", images, 2, may_overwrite=False)
    assert [file.name for file in files.values()] == ["one.png", "one-2.png"]


@pytest.mark.parametrize("may_overwrite", [False, True])
def test_an_image_that_is_read_is_never_replaced(may_overwrite: bool, tmp_path: Path) -> None:
    image = tmp_path / "one.png"
    image.write_bytes(b"mine")
    for place in (image, tmp_path):
        with pytest.raises(ConfigError, match="is one of the images that are read"):
            files_to_show(place, [image], 1, may_overwrite)
