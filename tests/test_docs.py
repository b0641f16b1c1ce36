"""What README and docs/ tell people to type works as it is written there."""

import faulthandler
import re
from pathlib import Path

import pytest
from documented import ROOT, Command, follow, read

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
QUICK = {"faq", "install"}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[] if page.stem in QUICK else pytest.mark.slow)
        for page in PAGES
        if read(page)
    ],
)
def test_what_a_page_says_is_done(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulthandler.cancel_dump_traceback_later()  # pytest's limit is for tests that hang
    follow(read(page), tmp_path, monkeypatch)


def test_the_guides_have_commands() -> None:
    commands = {page.stem: sum(isinstance(step, Command) for step in read(page)) for page in PAGES}
    assert commands["your_own"] == 18
    assert commands["faq"] > 10
    guides = "train resume sweep search_space tensorboard report predict serve export devices"
    assert all(commands[guide] for guide in guides.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("generated/"):  # made by the build, which looks at these
            assert (page.parent / target).exists(), target
