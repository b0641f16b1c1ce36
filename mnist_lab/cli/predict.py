"""``mnist-lab predict``: recognises the digits in images."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_lab.cli.arguments import Parser, split_targets
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.cli.shown_inputs import files_to_show, write_inputs
from mnist_lab.cli.terminal import say_table, watched
from mnist_lab.config.saved import stored_config
from mnist_lab.errors import InputError, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnist_lab.inference.predict import OpenRun, Prediction

_CHUNK = 256  # images that are held at a time
_DESCRIPTION = """\
Recognises the digits in each image: PNG, JPEG, WebP, BMP, GIF or TIFF of any size, photo or
drawing, dark on light or light on dark, on plain, ruled or squared paper or in a printed box. Each
digit is found and brought into MNIST's form, and has a row: from left to right, line by line. An
MNIST image is left as it is, and so is one of 28 x 28 where the run was trained on another set. For
an image that cannot be read there is one line, the others are still read, and the exit code is
3."""


def main(arguments: list[str]) -> int:
    """Recognise the digits in images and print them."""
    parser = Parser("mnist-lab predict", description=_DESCRIPTION)
    parser.add_argument("run", type=Path, help="the run's directory")
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="files, folders, or patterns as in 'scans/*.png'"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list, with every class")
    parser.add_argument(
        "--show",
        type=Path,
        metavar="PLACE",
        help="write the model's input, 28 x 28 a digit: a .png for one image, a folder for several",
    )
    parser.add_overwrite()
    options = parser.parse_intermixed_args(arguments)
    places, targets = split_targets(options.images, "IMAGE")
    stored_config(options.run, targets)  # finds errors before the slow imports
    with without_collector():
        from mnist_lab.files.images import find_images
        from mnist_lab.inference.predict import open_run, recognize

    images = find_images(places)
    files: dict[str, Path] = {}
    if options.show:
        to_read = [image for image in images if isinstance(image, Path)]
        files = files_to_show(options.show, to_read, len(images), options.overwrite)
    run = open_run(options.run, targets)
    predictions: list[Prediction] = []
    for chunk in _read(images, run):
        predictions += recognize(run.model, list(chunk.values()), list(chunk), run.class_names)
    if options.show:
        write_inputs(options.show, files, predictions)
    _print(predictions, options.json, "class" if run.class_names else "digit")
    num_read = sum(prediction.position == 1 for prediction in predictions)
    return InputError.exit_code if num_read < len(images) else 0


def _read(
    images: Sequence[Path | InputError], run: OpenRun
) -> Iterator[dict[str, list[NDArray[np.uint8]]]]:
    """Yield the model's inputs by file name, in chunks; print a line for each bad image."""
    from mnist_lab.files.images import read_image

    chunk: dict[str, list[NDArray[np.uint8]]] = {}
    for image in watched(images, "reading"):
        try:
            if isinstance(image, InputError):
                raise image
            chunk[printable(image)] = run.inputs(read_image(image))
        except InputError as error:
            print(f"mnist-lab predict: {error}", file=sys.stderr)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = {}
    yield chunk


def _print(predictions: Sequence[Prediction], as_json: bool, heading: str) -> None:
    if as_json:
        print(json.dumps([prediction.as_json() for prediction in predictions], indent=2))
    elif predictions:
        headings = ["file", heading, "probability", "runner-up", ""]
        say_table(headings, map(_cells, predictions), headings[1:4])


def _cells(row: Prediction) -> list[str]:
    answer = ["-", "-", "-"]
    if row.digit is not None:
        second = f"{row.runner_up_name} ({row.runner_up_probability:.1%})"
        answer = [row.class_name, f"{row.probability:.1%}", second]
    place = f"{row.position} of {row.of}" if row.of > 1 else ""
    return [row.name, *answer, ", ".join(filter(None, (place, row.note)))]
