"""The two forms of a card."""

import matplotlib
import numpy as np

from mnist_lab.inference.card import Section, _drawn, as_html, as_markdown

SECTIONS = [
    Section("Model card of <b>", "", ("what", "value"), [("a|b", "<script>")]),
    Section("Pictures", "Two & two.", picture=np.zeros((2, 2), dtype=np.uint8), caption="Dots"),
]


def test_text_of_files_stays_text() -> None:
    page = as_html(SECTIONS, "mnist-lab card")
    assert "<script>" not in page
    assert "<h1>Model card of &lt;b&gt;</h1>" in page
    assert "<td>a|b<td>&lt;script&gt;" in page
    assert "<p>Two &amp; two.</p>" in page
    assert page.count('<img src="data:image/png;base64,') == 1


def test_markdown_has_its_tables_and_pictures() -> None:
    lines = as_markdown(SECTIONS, ["one.png"], "mnist-lab card").splitlines()
    assert lines[:3] == ["<!-- mnist-lab card -->", "", "# Model card of &lt;b&gt;"]
    assert lines[4:7] == ["| what | value |", "| --- | --- |", "| a&#124;b | &lt;script&gt; |"]
    assert "## Pictures" in lines
    assert "![Dots](one.png)" in lines


def test_a_style_of_the_current_folder_is_not_taken() -> None:
    """It could have LaTeX run, which is not even there."""
    with matplotlib.rc_context({"text.usetex": True, "figure.dpi": 10}):
        drawn = _drawn({"rotation in degrees": {0: 0.9}, "shift in pixels": {0: 0.9}})
        assert matplotlib.rcParams["text.usetex"]
    assert drawn.shape == (300, 800, 3)
