"""``mnist-lab predict``: the digits in pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_lab.cli.arguments import Parser, split_targets
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.config.saved import stored_config
from mnist_lab.errors import ConfigError, InputError, StorageError, reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from mnist_lab.inference.predict import Prediction

_CHUNK = 256  # pictures that are read before the model is asked
_DESCRIPTION = """\
Says which digit is in each picture: PNG, JPEG, WebP, BMP, GIF or TIFF of any size, photo or
drawing, dark on light or light on dark. The digit is found and brought into the form of MNIST's; an
MNIST image is taken as it is, and so is one of 28 x 28 where the run was trained on another set. A
picture that cannot be read is told of in a line, the others are still read, and the exit code is
3."""


def main(arguments: list[str]) -> int:
    """Predict the digits in pictures and print them.

    Raises:
        LabError: something that the user can mend is wrong.
    """
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
        help="write what the network saw, 28 x 28: a .png for one picture, a folder for several",
    )
    options = parser.parse_intermixed_args(arguments)
    places, targets = split_targets(options.images, "IMAGE")
    config = stored_config(options.run, targets)  # finds errors before the slow imports
    with without_collector():
        from mnist_lab.files.images import find_images
        from mnist_lab.inference.predict import load_run, recognize

    found = list(dict.fromkeys(find_images(places)))
    if options.show and options.show.suffix.lower() == ".png" and len(found) > 1:
        raise ConfigError(f"--show {options.show}: for {len(found)} pictures a folder is required")
    model = load_run(options.run, targets)
    predictions: list[Prediction] = []
    for chunk in _read(found, config.data.dataset):
        predictions += recognize(model, chunk.values(), list(chunk))
    if options.show and predictions:
        _write_seen(options.show, predictions)
    if options.json:
        print(json.dumps([one.as_json() for one in predictions], indent=2))
    elif predictions:
        from rich.console import Console

        Console(soft_wrap=True, markup=False, highlight=False).print(_table(predictions))
    return InputError.exit_code if len(predictions) < len(found) else 0


def _read(
    found: Sequence[Path | InputError], dataset: str
) -> Iterator[dict[str, NDArray[np.uint8]]]:
    """Yield pictures in a set's form by name, so many at a time, and tell of those that are bad."""
    from rich.console import Console
    from rich.progress import track

    from mnist_lab.files.images import printable, read_image
    from mnist_lab.inference.digit_finder import in_form_of

    console = Console(stderr=True)
    is_shown = console.is_terminal and len(found) > 1
    chunk: dict[str, NDArray[np.uint8]] = {}
    for one in track(found, "reading", console=console, transient=True, disable=not is_shown):
        try:
            if isinstance(one, InputError):
                raise one
            chunk[printable(one)] = in_form_of(dataset, read_image(one))
        except InputError as error:
            print(f"mnist-lab predict: {error}", file=sys.stderr)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = {}
    yield chunk


def _table(predictions: Sequence[Prediction]) -> Table:
    from rich.table import Table

    table = Table(show_edge=False)
    for name, justify in (("file", "left"), ("digit", "right"), ("probability", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("runner-up", justify="right")
    table.add_column("")
    for one in predictions:
        if one.digit is None:
            table.add_row(one.name, "-", "-", "-", one.note)
        else:
            second = f"{one.runner_up} ({one.runner_up_probability:.1%})"
            table.add_row(one.name, str(one.digit), f"{one.probability:.1%}", second, one.note)
    return table


def _write_seen(place: Path, predictions: Sequence[Prediction]) -> None:
    """Write what the network saw, under the pictures' own names.

    Raises:
        StorageError: it cannot be written.
    """
    from PIL import Image

    try:
        if place.suffix.lower() == ".png":
            Image.fromarray(predictions[0].pixels).save(place)
            return
        place.mkdir(parents=True, exist_ok=True)
        taken: set[str] = set()
        for one in predictions:
            stem = name = Path(one.name).stem
            number = 1
            while name in taken:  # pictures of one name in several folders
                number += 1
                name = f"{stem}-{number}"
            taken.add(name)
            Image.fromarray(one.pixels).save(place / f"{name}.png")
    except OSError as error:
        raise StorageError(f"{place}: cannot be written: {reason(error)}") from error
