"""A table for a terminal of any width, whose rows go on in further lines."""

import itertools
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, chop_cells, set_cell_size


def folded_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], width: int, right: Iterable[str] = ()
) -> Iterator[str]:
    """Yield the lines of a table whose rows go on in further lines where they are too wide.

    Nothing is cut off: a cell of more than half the width is folded, but the first and a path only
    where the line ends, and columns that do not fit beside the others stand below them. Rich has no
    such table, and takes a second for 1,000 rows.

    Args:
        headings: the columns.
        rows: a text for each column; each is one line and printable.
        width: columns of the terminal.
        right: headings of the columns that are aligned to the right.
    """
    most = min(max(width // 2, 20), width - 2)  # beside the indent of the columns below
    cells = [
        [
            fold(text, width if n == 0 else most if " " in text else width - 2)
            for n, text in enumerate(row)
        ]
        for row in (headings, *rows)
    ]
    widths = [max(cell_len(part) for row in cells for part in row[n]) for n in range(len(headings))]
    groups: list[list[int]] = [[]]
    for number, needed in enumerate(widths):
        indent = 2 * (len(groups) > 1)
        if groups[-1] and indent + needed + sum(widths[n] + 2 for n in groups[-1]) > width:
            groups.append([])
        groups[-1].append(number)
    is_right = [name in set(right) for name in headings]
    for row_number, row in enumerate(cells):
        for place, group in enumerate(groups):
            for parts in itertools.zip_longest(*(row[n] for n in group), fillvalue=""):
                padded = (
                    set_cell_size("", widths[n] - cell_len(part)) + part
                    if is_right[n]
                    else set_cell_size(part, widths[n])
                    for n, part in zip(group, parts, strict=True)
                )
                line = ("  " * (place > 0) + "  ".join(padded)).rstrip()
                if line:
                    yield line
        if row_number == 0:
            yield "─" * min(width, max(sum(widths[n] + 2 for n in group) for group in groups) - 2)


def fold(text: str, width: int) -> list[str]:
    """Return the lines of a text that is folded where it is too wide."""
    if cell_len(text) <= width:
        return [text]
    if " " in text and text.isascii():
        return textwrap.wrap(text, width, break_on_hyphens=False)
    return chop_cells(text, width)
