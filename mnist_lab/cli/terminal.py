"""What is printed goes through here: control characters that others wrote are shown, not obeyed."""

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment

from mnist_lab.errors import printable

_FILE_WIDTH = 200  # columns of output that is not a terminal


def say(*lines: str, to_stderr: bool = False) -> None:
    """Print lines that only show, whatever they contain."""
    print(
        *map(printable, lines), sep="\n", file=sys.stderr if to_stderr else sys.stdout, flush=True
    )


class Terminal(Console):
    """A console for tables whose texts are shown as they are, and never obeyed.

    Args:
        to_stderr: whether it prints to standard error.
    """

    def __init__(self, to_stderr: bool = False) -> None:
        super().__init__(
            stderr=to_stderr, soft_wrap=True, highlight=False, markup=False, emoji=False
        )
        if not self.is_terminal:
            self.width = _FILE_WIDTH

    def on_broken_pipe(self) -> None:
        """Leave the end to the command, which is no error; Rich would end the process with 1."""
        raise BrokenPipeError

    def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
        """Return what is printed, with a sign in place of each control character of a text."""
        for segment in super().render(*arguments, **options):
            text, style, control = segment
            if not control and not text.replace("\n", "").isprintable():
                text = "".join(
                    char if char == "\n" or char.isprintable() else "\ufffd" for char in text
                )
            yield Segment(text, style, control)
