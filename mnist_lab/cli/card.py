"""``mnist-lab card RUN``: writes a model card, as Markdown and as a page that needs no network."""

import os
from pathlib import Path

from mnist_lab.cli.arguments import Parser, check_may_write
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.cli.terminal import say
from mnist_lab.config.saved import stored_config
from mnist_lab.errors import ConfigError
from mnist_lab.runs.directory import write
from mnist_lab.runs.logs import log_messages

_GENERATOR = "mnist-lab card"
_TEXT, _PAGE, _PICTURES = "card.md", "card.html", ("card_1.png", "card_2.png")
_DESCRIPTION = """\
Writes card.md, its pictures and card.html: the run's protocol and hashes, accuracy by class,
calibration, and the accuracy of its best checkpoint on test images under 15 corruptions, rotated
and shifted, and on the digits of other writers (scikit-learn's, where it is installed)."""


def main(arguments: list[str]) -> int:
    """Write a run's card, and print where it is."""
    parser = Parser("mnist-lab card", description=_DESCRIPTION)
    parser.add_argument("run", type=Path, help="the run's directory")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder of the card; default: the run's"
    )
    parser.add_overwrite("a card")
    options, _ = parser.parse_with_targets(arguments)
    folder: Path = options.output or options.run
    stored_config(options.run, options.overrides)  # finds errors before the slow imports
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ConfigError(f"--output {folder}: must be a folder; it is a file")
    for name in (_TEXT, _PAGE, *_PICTURES):
        check_may_write(folder / name, options.overwrite, _GENERATOR)
    log_messages()
    with without_collector():
        from mnist_lab.files.atomic import write_atomic, write_errors
        from mnist_lab.files.images import png
        from mnist_lab.inference.card import as_html, as_markdown, card

    sections = card(options.run, options.overrides)
    pictures = [section.picture for section in sections if section.picture is not None]
    for name, picture in zip(_PICTURES, pictures, strict=True):
        with write_errors(folder / name):
            write_atomic(folder / name, png(picture, _GENERATOR))
    write(folder / _TEXT, as_markdown(sections, _PICTURES, _GENERATOR))
    write(folder / _PAGE, as_html(sections, _GENERATOR))
    say(f"card: {folder / _TEXT}, {folder / _PAGE}")
    return 0
