"""A real TensorBoard, asked as its page asks it."""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Ask = Callable[..., bytes]


@contextlib.contextmanager
def at_address(logdir: Path) -> Iterator[str]:
    """Serve a directory; yield the address of the page."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "TensorBoard ended"
            found = re.search(r"http://[\w.]+:(\d+)", line)
        yield f"http://127.0.0.1:{found.group(1)}/"
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextlib.contextmanager
def serving(logdir: Path) -> Iterator[Ask]:
    """Serve a directory; yield what gets the bytes at a path below ``/data/plugin``."""
    with at_address(logdir) as home:

        def ask(path: str, **query: Any) -> bytes:
            url = f"{home}data/plugin/{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(url, timeout=60) as answer:
                content: bytes = answer.read()
            return content

        yield ask


def until_there(ask: Callable[[], Any], seconds: float = 30) -> Any:
    """Return what TensorBoard says as soon as it has read it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(urllib.error.HTTPError, KeyError):
            if found := ask():
                return found
        time.sleep(0.2)
    raise AssertionError("TensorBoard has not read it")


def as_json(content: bytes) -> Any:
    return json.loads(content)
