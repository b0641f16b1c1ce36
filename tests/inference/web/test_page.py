"""The page as people use it, in headless Chromium, and as others attack it."""

import base64
import contextlib
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import browser
import numpy as np
import pytest
from door import COMMAND, call
from hostile_images import bad_contents
from PIL import Image
from playwright.sync_api import Page

from mnist_lab.data.archive import Split

BLANK = "\u2013"
SEVEN = [(90, 80), (150, 78), (230, 80), (200, 140), (170, 200), (145, 260)]
THREE = [
    *((95, 90), (130, 62), (180, 60), (210, 95), (190, 135), (145, 150)),
    *((195, 160), (222, 200), (195, 250), (140, 262), (95, 240)),
]


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
            process.communicate(timeout=20)


@pytest.fixture(scope="module")
def port(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    other = tmp_path_factory.mktemp("runs") / "the same again"
    shutil.copytree(trained, other)
    with served(trained, other) as (_, port):
        yield port


@pytest.fixture(scope="module")
def page(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser.opened(tmp_path_factory.mktemp("profile")) as page:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector(".card >> nth=1")
        yield page


def draw(page: Page, points: list[tuple[int, int]], pause: float = 0.0) -> list[list[str]]:
    """Draw a stroke with the mouse, and return the shares that were shown on the way."""
    page.click("#clear")
    box = page.locator("#canvas").bounding_box()
    places = [
        (box["x"] + x * box["width"] / 320, box["y"] + y * box["height"] / 320) for x, y in points
    ]
    page.mouse.move(*places[0])
    page.mouse.down()
    seen = []
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
        page.wait_for_timeout(pause * 1000)
        seen.append(page.locator(".card >> nth=0").locator(".share").all_text_contents())
    page.mouse.up()
    return seen


def digits(page: Page, expected: str) -> None:
    for number in range(2):
        page.wait_for_function(
            "([n, text]) => document.querySelectorAll('.digit')[n].textContent === text",
            arg=[number, expected],
            timeout=5000,
        )


@pytest.mark.parametrize(("points", "digit"), [(THREE, "3"), (SEVEN, "7")], ids=["3", "7"])
def test_what_is_drawn_is_recognised_while_it_is(
    page: Page, points: list[tuple[int, int]], digit: str
) -> None:
    seen = draw(page, points, pause=0.1)
    digits(page, digit)
    assert len({tuple(shares) for shares in seen}) > 2
    shares = page.locator(".card >> nth=0").locator(".share").all_text_contents()
    assert sum(float(share.split()[0]) for share in shares) == pytest.approx(100, abs=0.6)
    for name in ("#seen", ".saliency >> nth=0"):
        width = page.locator(name).evaluate("image => image.naturalWidth")
        assert width == 28


def test_a_finger_draws_too(page: Page) -> None:
    page.click("#clear")
    touches = page.context.new_cdp_session(page)
    box = page.locator("#canvas").bounding_box()
    kinds = ["touchStart"] + ["touchMove"] * (len(SEVEN) - 1)
    for kind, (x, y) in zip(kinds, SEVEN, strict=True):
        point = {"x": box["x"] + x, "y": box["y"] + y}
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    digits(page, "7")


def test_undo_and_clear(page: Page) -> None:
    draw(page, SEVEN)
    digits(page, "7")
    page.click("#undo")
    digits(page, BLANK)
    draw(page, SEVEN)
    page.click("#clear")
    page.wait_for_timeout(300)
    digits(page, BLANK)
    assert page.locator("#seen").is_hidden()


def hand_over(page: Page, content: bytes, name: str, how: str = "drop") -> None:
    """Drop a file on the page, or paste it."""
    page.evaluate(
        """([data, name, how]) => {
            const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name));
            const options = { bubbles: true, cancelable: true };
            const event = how === "drop"
                ? new DragEvent("drop", { ...options, dataTransfer: transfer })
                : new ClipboardEvent("paste", { ...options, clipboardData: transfer });
            document.getElementById("canvas").dispatchEvent(event);
        }""",
        [base64.b64encode(content).decode(), name, how],
    )


def as_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_image_that_is_dropped_pasted_or_chosen(page: Page, mnist_test: Split) -> None:
    contents = [as_png(mnist_test.images[number, 0].numpy()) for number in (0, 1, 2)]
    hand_over(page, contents[0], "seven.png")
    digits(page, "7")
    hand_over(page, contents[2], "one.png", how="paste")
    digits(page, "1")
    chosen = {"name": "two.png", "mimeType": "image/png", "buffer": contents[1]}
    page.set_input_files("#file", chosen)
    digits(page, "2")


def test_a_bad_image_is_a_line(page: Page) -> None:
    hand_over(page, b"<svg/>", "a.png")
    page.wait_for_selector("#message.error")
    assert "the image: not an image: PNG" in page.locator("#message").text_content()
    page.wait_for_timeout(100)
    page.messages.clear()  # the browser reports the status itself


def test_the_page_is_complete_in_itself(page: Page, port: int) -> None:
    draw(page, THREE)
    digits(page, "3")
    assert page.messages == []
    own = (f"http://127.0.0.1:{port}/", "data:", f"blob:http://127.0.0.1:{port}/")
    assert [url for url in page.asked if not url.startswith(own)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    draw(page, SEVEN)
    digits(page, "7")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/phone-{scheme}.png", full_page=True)
    page.set_viewport_size({"width": 1100, "height": 800})
    draw(page, THREE)
    digits(page, "3")
    if folder:
        page.screenshot(path=f"{folder}/page-{scheme}.png")
    page.emulate_media(color_scheme=None)


@pytest.mark.slow  # a time, which needs a machine with nothing else to do
def test_answers_fast(page: Page) -> None:
    page.evaluate(
        """() => {
            window.took = [];
            new MutationObserver(() => took.push(parseInt(
                document.getElementById("took").textContent.match(/\\d+/)?.[0] ?? "-1"
            ))).observe(document.getElementById("took"), { childList: true });
        }"""
    )
    for points in [THREE, SEVEN] * 5:
        draw(page, points, pause=0.05)
    took = [one for one in page.evaluate("took") if one >= 0]
    print(
        f"{len(took)} answers, p95 {np.percentile(took, 95):.0f} ms, p50 {np.median(took):.0f} ms"
    )
    assert len(took) >= 50
    assert np.percentile(took, 95) < 150


# --- attacks


def asked(
    port: int, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    own = {"Host": f"127.0.0.1:{port}"}
    if method == "POST":
        own["Origin"] = f"http://127.0.0.1:{port}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host=True)
        sent = own | {"Content-Length": str(len(body))} | headers
        for name, value in sent.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body or None)
        response = connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "localhost@evil"],
)
def test_a_foreign_host_is_refused(port: int, host: str) -> None:
    for method, path in (("GET", "/"), ("GET", "/runs"), ("POST", "/predict")):
        assert asked(port, method, path, Host=host.format(port=port))[0] == 421


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:{port}.evil"],
)
def test_a_foreign_origin_is_refused(port: int, origin: str, mnist_test: Split) -> None:
    body = as_png(mnist_test.images[0, 0].numpy())
    assert asked(port, "POST", "/predict", body, Origin=origin.format(port=port))[0] == 403
    assert asked(port, "POST", "/predict", body, Sec_Fetch_Site="cross-site")[0] == 403
    assert asked(port, "POST", "/predict", body)[0] == 200


def test_no_origin_is_no_origin_of_the_page(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode()
            + b"Content-Length: 0\r\n\r\n"
        )
        assert b" 403 " in client.recv(100)


def test_a_body_of_a_gigabyte_is_refused_before_it_is_read(port: int) -> None:
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(f"{head}Content-Length: 1000000000\r\n\r\n".encode())
        assert b" 413 " in client.recv(100)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:  # of no said length
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        with contextlib.suppress(OSError):
            for _ in range(1000):
                client.sendall(b"f4240\r\n" + bytes(1_000_000) + b"\r\n")
                sent += 1
        assert sent < 100


@pytest.mark.parametrize(
    "path",
    [
        *("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/file=/etc/passwd"),
        *("/page.js/../../app.py", "/page/../app.py", "/page.css%00", "/..\\..\\app.py"),
    ],
)
def test_no_path_leads_anywhere(port: int, path: str) -> None:
    assert asked(port, "GET", path)[0] == 404
    assert asked(port, "DELETE", "/")[0] == 405


def test_bad_images_are_answered(port: int) -> None:
    for name, content in bad_contents().items():
        if len(content) < 16_000_000:
            status, body, _ = asked(port, "POST", "/predict", content)
            assert status == 422, name
            assert "Traceback" not in json.loads(body)["error"]


def test_headers_bind_the_page_to_itself(port: int) -> None:
    _, _, headers = asked(port, "GET", "/")
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers


def test_still_answers_afterwards(port: int, mnist_test: Split) -> None:
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for number in range(3):
        body = as_png(mnist_test.images[number, 0].numpy())
        status, answer, _ = asked(port, "POST", "/predict", body)
        assert status == 200
        first, second = json.loads(answer)["runs"]
        assert first["digit"] == second["digit"] == [7, 2, 1][number]
    for one in idle:
        one.close()


# --- the command


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ends_cleanly(trained: Path, signum: int, code: int) -> None:
    with served(trained) as (process, port):
        waiting = socket.create_connection(("127.0.0.1", port))
        before = time.monotonic()
        process.send_signal(signum)
        _, err = process.communicate(timeout=20)
        assert process.returncode == code
        assert time.monotonic() - before < 5
        assert err.count("\n") <= 1
        assert "Traceback" not in err
        waiting.close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port))


def test_listens_to_this_machine_only(port: int) -> None:
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert f"0100007F:{port:04X}" in listening
    assert f"00000000:{port:04X}" not in listening


def test_a_port_that_is_taken(trained: Path, port: int, tmp_path: Path) -> None:
    done = call(f"serve {trained} --port {port}", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (6, "", 1)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("serve", 2),
        ("serve {run} --port 99999", 2),
        ("serve {run} --port x", 2),
        ("serve {run} --host 0.0.0.0", 2),
        ("serve {run} --host evil.example", 2),
        ("serve {run} --host 203.0.113.7", 2),
        ("serve nowhere", 3),
    ],
)
def test_wrong_use_is_one_line(trained: Path, tmp_path: Path, arguments: str, code: int) -> None:
    done = call(arguments.format(run=trained), tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
