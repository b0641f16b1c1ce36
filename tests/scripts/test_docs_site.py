"""The site that scripts/docs builds: no warning, no dead link, nothing from elsewhere."""

import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import opened

ROOT = Path(__file__).parents[2]
PARTS = ("README.md", "CHANGELOG.md", "benchmarks", "conf", "mnist_lab", "scripts", "tests")


class Page(HTMLParser):
    """Where the links of a page lead, what it loads, and the places in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.places.add(found.get("id", ""))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        self.loads += [found[name] for name in ("src", "href") if name in found and tag != "a"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built beside the checkout, which stays as it is."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in PARTS:
        (checkout / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "docs", checkout / "docs", ignore=lambda *_: ["generated"])
    out = checkout / "site"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(out)]
    done = subprocess.run(
        command,
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_links_lead_to_places_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 40
    dead = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme:
                assert link not in page.loads or parts.scheme == "data", f"{path}: loads {link}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            is_there = target.exists() and (not place or place in pages[target].places)
            dead += [] if is_there else [f"{path.relative_to(site)}: {link}"]
    assert not dead


@pytest.mark.slow
def test_each_group_and_recipe_has_its_place(site: Path) -> None:
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    assert groups <= {path.stem for path in (site / "generated" / "config").glob("*.html")}
    recipes = (site / "generated" / "config" / "experiment.html").read_text(encoding="utf-8")
    for path in (ROOT / "conf" / "experiment").glob("*.yaml"):
        assert f"Command: mnist-lab train experiment={path.stem}" in recipes


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_fits_and_needs_no_network(width: int, site: Path, tmp_path: Path) -> None:
    names = ("index", "train", "faq", "api", "generated/config/model", "generated/commands")
    with opened(tmp_path, width) as page:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for name in names:
                page.goto((site / f"{name}.html").as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (colour == "rgb(255, 255, 255)") == (scheme == "light")
        assert not page.messages
        assert all(address.startswith("file:") for address in page.asked)
