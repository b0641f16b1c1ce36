"""The page, served by the command, and requests to it."""

import asyncio
import contextlib
import http.client
import io
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from door import COMMAND
from PIL import Image


@contextlib.contextmanager
def served(*runs: Path, host: str = "127.0.0.1") -> Iterator[tuple[subprocess.Popen, int]]:
    process = subprocess.Popen(
        [COMMAND, "serve", *runs, "--port", "0", "--host", host],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        found = re.match(r"http://127\.0\.0\.1:(\d+)/ is the page", process.stdout.readline())
        assert found, process.stderr.read()
        yield process, int(found[1])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def answered(
    app: Any, method: str, path: str, content: bytes = b""
) -> tuple[int, Any, dict[str, str]]:
    """Return the status, the JSON and the headers that an application answers with, unserved."""
    sent = {"host": "page", "origin": "http://page", "content-length": str(len(content))}
    scope = {
        **{"type": "http", "method": method, "path": path, "raw_path": path.encode()},
        **{"query_string": b"", "root_path": "", "scheme": "http", "client": None},
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    with ThreadPoolExecutor(1) as thread:  # the browser's loop may run in this one
        thread.submit(asyncio.run, app(scope, receive, send)).result()
    start, *parts = messages
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], json.loads(b"".join(part["body"] for part in parts)), headers


def as_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def asked(
    port: int, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    own = {"Host": f"127.0.0.1:{port}"}
    if method == "POST":
        own["Origin"] = f"http://127.0.0.1:{port}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host=True)
        sent = own | {"Content-Length": str(len(body))} | headers
        for name, value in sent.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body or None)
        response = connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())
