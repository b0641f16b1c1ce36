"""What is printed goes through here: control characters that others wrote are shown, not obeyed."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

from mnist_lab.cli.folded_table import folded_table
from mnist_lab.errors import printable

_FILE_WIDTH = 200  # columns of output that is not a terminal
_Item = TypeVar("_Item")


def say(*lines: str, to_stderr: bool = False) -> None:
    """Print lines that only show, whatever they contain."""
    print(
        *map(printable, lines), sep="\n", file=sys.stderr if to_stderr else sys.stdout, flush=True
    )


def say_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[str] = ()
) -> None:
    """Print a ``folded_table`` of texts that only show, as wide as the terminal."""
    say(*folded_table(headings, rows, width(), right))


def width() -> int:
    """Return the columns of the terminal, or of output that is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _FILE_WIDTH


def watched(items: Sequence[_Item], text: str) -> Iterable[_Item]:
    """Show the progress of a loop on a terminal."""
    if not sys.stderr.isatty() or len(items) < 2:
        return items
    from rich.console import Console  # neither is needed to list runs
    from rich.progress import track

    return track(items, text, console=Console(stderr=True), transient=True)
