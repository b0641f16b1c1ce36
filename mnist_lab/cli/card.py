"""``mnist-lab card RUN``: writes a model card, as Markdown and as a page that needs no network."""

from pathlib import Path

from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.cli.terminal import say
from mnist_lab.config.saved import stored_config
from mnist_lab.errors import StorageError
from mnist_lab.runs.directory import write
from mnist_lab.runs.logs import log_messages

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
    options, _ = parser.parse_with_targets(arguments)
    folder: Path = options.output or options.run
    stored_config(options.run, options.overrides)  # finds errors before the slow imports
    if not folder.is_dir():
        raise StorageError(f"{folder}: the folder is missing; create it first")
    log_messages()
    with without_collector():
        from mnist_lab.files.atomic import write_atomic, write_errors
        from mnist_lab.files.images import png
        from mnist_lab.inference.card import as_html, as_markdown, card

    sections = card(options.run, options.overrides)
    pictures = [section.picture for section in sections if section.picture is not None]
    names = [f"card_{number}.png" for number in range(1, len(pictures) + 1)]
    for name, picture in zip(names, pictures, strict=True):
        with write_errors(folder / name):
            write_atomic(folder / name, png(picture))
    write(folder / "card.md", as_markdown(sections, names))
    write(folder / "card.html", as_html(sections))
    say(f"card: {folder / 'card.md'}, {folder / 'card.html'}")
    return 0
