"""Tables that fold where the terminal is narrow."""

import pytest
from rich.cells import cell_len

from mnist_lab.cli.folded_table import folded_table

HEADINGS = ("run", "state", "lr", "note")
ROWS = [
    ("outputs/runs/2026-11-01_10-00-00_abcdef", "finished", "0.001", "the first of them all"),
    ("a", "failed", "1e-05", "\u5bbd" * 30),
]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_nothing_is_cut_off_and_nothing_is_wider(width: int) -> None:
    lines = list(folded_table(HEADINGS, ROWS, width, right=["lr"]))
    assert max(map(cell_len, lines)) <= width
    shown = "".join("".join(lines).split())
    for text in (*HEADINGS, *(cell for row in ROWS for cell in row)):
        # A folded cell is whole again where only its own column stands in its lines.
        assert width < 80 or len(text) > width // 2 or "".join(text.split()) in shown
    assert sum(line.count("\u5bbd") for line in lines) == 30


def test_a_wide_terminal_has_a_line_a_row() -> None:
    heading, rule, first, second = folded_table(HEADINGS, ROWS, 200, right=["lr"])
    assert set(rule) == {"\u2500"}
    assert first.index("0.001") == heading.index("lr") - 3  # to the right
    assert first.index("finished") == heading.index("state") == second.index("failed")


def test_columns_that_do_not_fit_stand_below() -> None:
    lines = list(folded_table(HEADINGS, ROWS[:1], 45))
    assert lines[0].startswith("run")
    assert lines[1].startswith("  state")
