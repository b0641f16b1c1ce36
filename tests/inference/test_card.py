"""The two forms of a card."""

import numpy as np

from mnist_lab.inference.card import Section, as_html, as_markdown

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
