"""The page of a report: its columns, cells and parts."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import opened
from made_runs import make_run, note
from PIL import Image

from mnist_lab.inference.predictions import Predictions
from mnist_lab.report.leaderboard import Cell, Leaderboard
from mnist_lab.report.page import page
from mnist_lab.report.read_runs import collect


def test_a_cell_for_each_column(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0, 0.9, optimizer={"lr": 0.5})
    make_run(tmp_path / "b", 0, 0.8, optimizer={"lr": 0.25})
    board = Leaderboard(collect([tmp_path]).runs)
    for row, lr in zip(board.rows, ("0.5", "0.25"), strict=True):
        line = {cell.heading: cell for cell in board.cells(row)}
        assert [*line][:4] == ["row", "val/acc", "test/acc", "lr"]
        assert line["lr"] == Cell("lr", lr, lr)
        assert line["row"].text == str(row.number)
        assert line["val/acc"] == Cell(
            "val/acc", f"{row.mean('val/acc'):.2%}", repr(row.mean("val/acc"))
        )


def test_a_page_without_curves_and_models(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0, 0.9)
    text = page(Leaderboard(collect([tmp_path]).runs), {}, [], ["A against <B>"])
    assert "A against &lt;B&gt;" in text
    assert "<h2>Learning curves</h2>" not in text
    assert "<h2>Accuracy and time</h2>" in text
    assert "<h2>Confusion and mistakes</h2>" not in text


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_mistakes_are_shown_in_colour_or_as_they_were_written(
    channels: int, tmp_path: Path
) -> None:
    make_run(tmp_path / "a", 0, 0.9)
    images = torch.arange(channels * 20, dtype=torch.uint8).view(1, channels, 4, 5)
    predictions = Predictions(images, torch.tensor([1]), torch.tensor([[0.9, 0.1]]))
    text = page(Leaderboard(collect([tmp_path]).runs), {}, [("row 1", predictions)])
    (encoded,) = re.findall(r'<img alt="a 1" src="data:image/png;base64,([^"]+)"', text)
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(encoded))))
    in_colour = images[0].movedim(0, 2).numpy()
    assert np.array_equal(pixels, in_colour if channels == 3 else 255 - in_colour[..., 0])


def test_tags_notes_and_the_directory_of_each_row(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0, 0.9, optimizer={"lr": 0.5})
    note(make_run(tmp_path / "b", 0, 0.8), tags=["paper", "<i>"], note="</td><script>alert(1)")
    board = Leaderboard(collect([tmp_path]).runs)
    lines = [{cell.heading: cell for cell in board.cells(row)} for row in board.rows]
    assert [line["tags"].text for line in lines] == ["", "paper <i>"]
    assert lines[1]["note"].text == "</td><script>alert(1)"
    assert [Path(line["best run"].text).name for line in lines] == ["a", "b"]
    text = page(board, {}, [])
    assert "<script>alert(1)" not in text
    assert "paper &lt;i&gt;" in text
    assert board.records()[1]["tags"] == "paper <i>"


def test_a_strangers_labels_and_names_do_nothing_in_a_browser(tmp_path: Path) -> None:
    bad = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'</td>"
    hostile = f"{bad}\x1b]0;owned\x07\u202egpj\u2028數字"
    # An angle bracket may stand in a folder's name, a slash not.
    run = make_run(tmp_path / "<img src=x onerror=alert(3)>", 0, 0.9, optimizer={"name": bad})
    note(run, tags=[hostile, "=1+1"], note=hostile + "x" * 1_000_000)
    make_run(tmp_path / "b", 0, 0.8, optimizer={"lr": 0.5})
    board = Leaderboard(collect([tmp_path]).runs)
    rows = board.rows
    drawn = {name: {"val/acc": [(1.0, 0.5), (2.0, 0.9)]} for name in board.names(rows)}
    text = page(board, drawn, [], [hostile])
    assert len(text) < len(page(board, drawn, [])) + 10_000  # no note of a megabyte
    (tmp_path / "page.html").write_text(text)
    with opened(tmp_path / "profile") as browser:
        dialogs: list[str] = []
        browser.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        browser.goto((tmp_path / "page.html").as_uri())
        browser.wait_for_selector(".js-plotly-plot .legend")
        assert "onerror=alert(1)" in browser.inner_text("#leaderboard")
        assert "\u202e" not in browser.content()
        assert browser.locator("img[src=x]").count() == 0
        assert browser.locator("#leaderboard script").count() == 0
        assert (dialogs, browser.messages) == ([], [])
        assert all(url.startswith(("file:", "data:", "blob:")) for url in browser.asked)
