"""Sphinx's settings; scripts/docs builds the site, which needs no network to be read."""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import generate  # noqa: E402

import mnist_lab  # noqa: E402

generate.write(HERE.parent, HERE / "generated")

project = "mnist_lab"
author = project_copyright = "The mnist_lab authors"
release = version = mnist_lab.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["**/README.md"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
nitpicky = True
nitpick_ignore_regex = [
    # Other projects' classes, whose pages are elsewhere.
    (
        r"py:.*",
        r"(torch|lightning|numpy|omegaconf|plotly|PIL|collections|pathlib|typing|os|go)\..*",
    ),
    (
        r"py:.*",
        r"(Any|Path|Tensor|DictConfig|ndarray|Figure|optional|L\..*|nn\..*|np\..*|Literal.*)",
    ),
]

html_theme = "furo"  # light and dark as the reader's system is, or by the button
html_title = f"mnist_lab {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style, pygments_dark_style = "default", "github-dark"


def setup(app: Any) -> None:
    """Have links to measurements, which are files of the checkout, lead to their pages."""
    app.connect("source-read", _link_benchmarks)


def _link_benchmarks(_app: Any, _page: str, source: list[str]) -> None:
    source[0] = source[0].replace("](../benchmarks/", "](generated/benchmarks/")
