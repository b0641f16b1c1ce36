"""The page as people use it, in headless Chromium."""

import base64
import io
import json
import os
import socket
from collections.abc import Iterator

import browser
import numpy as np
import pytest
from hostile_images import bad_contents
from own_code import Lit
from papers import PAPERS
from playwright.sync_api import Page, Route
from served import answered, as_png, asked

from mnist_lab import SoftmaxRegression
from mnist_lab.data.mnist_files import Split
from mnist_lab.errors import ConfigError
from mnist_lab.inference.predict import OpenRun
from mnist_lab.inference.web import app as page_app
from mnist_lab.inference.web.app import build_app

BLANK = "\u2013"
SEVEN = [(90, 80), (150, 78), (230, 80), (200, 140), (170, 200), (145, 260)]
THREE = [
    *((95, 90), (130, 62), (180, 60), (210, 95), (190, 135), (145, 150)),
    *((195, 160), (222, 200), (195, 250), (140, 262), (95, 240)),
]


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
            timeout=60_000,
        )


@pytest.mark.thorough(keep=1)
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


def test_an_image_that_is_dropped_pasted_or_chosen(page: Page, mnist_test: Split) -> None:
    contents = [as_png(mnist_test.images[number, 0].numpy()) for number in (0, 1, 2)]
    hand_over(page, contents[0], "seven.png")
    digits(page, "7")
    hand_over(page, contents[2], "one.png", how="paste")
    digits(page, "1")
    chosen = {"name": "two.png", "mimeType": "image/png", "buffer": contents[1]}
    page.set_input_files("#file", chosen)
    digits(page, "2")


def test_a_photo_of_three_digits_has_a_row_for_each(page: Page, mnist_test: Split) -> None:
    pixels = mnist_test.images[[0, 1, 2], 0].numpy()
    photo = PAPERS["ruled"](np.random.default_rng(3), pixels)
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG")
    hand_over(page, buffer.getvalue(), "three.jpg")
    digits(page, "721")
    card = page.locator(".card >> nth=0")
    assert card.locator(".note").text_content() == "3 digits, from left to right"
    rows = card.locator("li:visible")
    assert rows.locator(".class").all_text_contents() == ["7", "2", "1"]
    assert all(float(one.split()[0]) > 50 for one in rows.locator(".share").all_text_contents())
    assert page.locator("#seen").evaluate("image => image.naturalWidth") == 3 * 28
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/page-three.png")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1100, "height": 800})
    hand_over(page, as_png(pixels[0]), "seven.png")
    digits(page, "7")
    assert len(card.locator("li:visible").all()) == 10


def test_a_bad_image_is_a_line(page: Page) -> None:
    hand_over(page, b"<svg/>", "a.png")
    page.wait_for_selector("#message.error")
    assert "the image: not an image: PNG" in page.locator("#message").text_content()
    page.wait_for_timeout(100)
    page.messages.clear()  # the browser reports the status itself


def test_an_error_of_the_server_is_said_to_be_one(page: Page) -> None:
    def fails(route: Route) -> None:
        route.fulfill(status=500, content_type="text/plain", body="Internal Server Error")

    page.route("**/predict", fails)
    draw(page, SEVEN)
    page.wait_for_selector("#message.error")
    assert page.locator("#message").text_content() == "Error of the server (500): see its terminal."
    page.unroute("**/predict")
    page.wait_for_timeout(100)
    page.messages.clear()  # the browser reports the status itself


def test_a_model_that_cannot_answer_is_a_line_on_its_card(page: Page) -> None:
    runs = [{"run": name, "digits": []} for name in page.locator(".card h2").all_text_contents()]
    runs[0]["error"] = "Lit.forward: gives dict"
    page.route("**/predict", lambda route: route.fulfill(json={"seen": "", "runs": runs}))
    draw(page, SEVEN)
    page.wait_for_function("document.querySelector('.note').textContent")
    assert page.locator(".note").all_text_contents() == ["Lit.forward: gives dict", ""]
    page.unroute("**/predict")


def test_the_page_is_complete_in_itself(page: Page, port: int) -> None:
    draw(page, THREE)
    digits(page, "3")
    assert page.messages == []
    own = (f"http://127.0.0.1:{port}/", "data:", f"blob:http://127.0.0.1:{port}/")
    assert [url for url in page.asked if not url.startswith(own)] == []


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_bad_images_are_answered(port: int) -> None:
    for name, content in bad_contents().items():
        if len(content) < 16_000_000:
            status, body, _ = asked(port, "POST", "/predict", content)
            assert status == 422, name
            assert "Traceback" not in json.loads(body)["error"]


def test_still_answers_afterwards(port: int, mnist_test: Split) -> None:
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for number in range(3):
        body = as_png(mnist_test.images[number, 0].numpy())
        status, answer, _ = asked(port, "POST", "/predict", body)
        assert status == 200
        first, second = json.loads(answer)["runs"]
        for run in (first, second):
            assert [one["digit"] for one in run["digits"]] == [[7, 2, 1][number]]
    for one in idle:
        one.close()


def test_a_lightning_module_of_ones_own_answers(mnist_test: Split) -> None:
    app = build_app({"own": OpenRun(Lit().eval(), "mnist", ())}, ["page"])  # type: ignore[arg-type]
    content = as_png(mnist_test.images[0, 0].numpy())
    status, answer, _ = answered(app, "POST", "/predict", content)
    (run,) = answer["runs"]
    assert (status, len(run["digits"])) == (200, 1)
    assert "saliency" not in run


def test_a_model_that_cannot_answer_leaves_the_others_their_answers(
    mnist_test: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lit, "forward", lambda _, images: images)
    runs = {
        "broken": OpenRun(Lit().eval(), "mnist", ()),  # type: ignore[arg-type]
        "softmax": OpenRun(SoftmaxRegression().eval(), "mnist", ()),
    }
    app = build_app(runs, ["page"])
    content = as_png(mnist_test.images[0, 0].numpy())
    status, answer, headers = answered(app, "POST", "/predict", content)
    broken, other = answer["runs"]
    assert (status, headers["x-frame-options"]) == (200, "DENY")
    assert "Lit.forward: gives (1, 1, 28, 28)" in broken["error"]
    assert other["saliency"]
    assert len(other["digits"]) == 1


def test_an_error_of_any_kind_is_json_with_the_guards_headers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise ConfigError("model.in_shape: must be another")

    monkeypatch.setattr(page_app, "decode_image", fails)
    status, answer, headers = answered(build_app({}, ["page"]), "POST", "/predict", b"-")
    assert (status, headers["x-frame-options"]) == (422, "DENY")
    assert answer == {"error": "model.in_shape: must be another"}
