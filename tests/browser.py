"""A headless Chromium that remembers what a page asks for and complains of."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@contextlib.contextmanager
def opened(profile: Path, width: int = 1100) -> Iterator[Page]:
    """Yield a page with ``messages``, of its console, and ``asked``, what it wanted to load.

    ``.ci/run`` installs Chromium; elsewhere a test that needs it is skipped where it is missing.
    """
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=path, args=_FLAGS, viewport={"width": width, "height": 800}
        )
        page = context.pages[0]
        page.messages = []
        page.asked = []
        page.on("console", lambda message: page.messages.append(message.text))
        page.on("pageerror", lambda error: page.messages.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        yield page
        context.close()
