"""Makes the images in README and docs: TensorBoard, a report, the page for drawing, the live table.

It trains what they show, a few softmax regressions, MLPs and a CNN, which takes two minutes on two
cores, and looks at it in headless Chromium. Needs the extra ``dev``, and Chromium.
"""

import contextlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_lab.cli.runs.watch import table
from mnist_lab.report.live import Live

DOCS = Path(__file__).parents[1] / "docs"
BIN = Path(sys.executable).parent
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
THREE = [
    *((95, 90), (130, 62), (180, 60), (210, 95), (190, 135), (145, 150)),
    *((195, 160), (222, 200), (195, 250), (140, 262), (95, 240)),
]
FIGURES = (  # runs and TensorBoard's names of images
    ("softmax", "weights/first_layer"),
    ("cnn", "weights/first_layer"),
    ("cnn", "z_result/test/confusion"),
    ("cnn", "z_result/test/mistakes"),
)
COLUMNS = 120  # of the live table
PATIENCE = 60_000  # milliseconds that a page may take


def main() -> None:
    """Train, look and write the images."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("screenshots: needs Chromium; apt-get install chromium")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        _train(folder)
        for run, tag in FIGURES:
            _figure(folder / "outputs" / "runs" / f"{run}_0", tag)
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, device_scale_factor=1)
        page.set_default_timeout(PATIENCE)
        _tensorboard(page, folder)
        _report(page, folder)
        _drawing(page, folder)
        browser.close()
        _watch(folder)


def _lab(folder: Path, *words: str) -> None:
    subprocess.run([BIN / "mnist-lab", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _train(folder: Path) -> None:
    for model, epochs in (("softmax", 4), ("mlp", 4), ("cnn", 3)):
        for seed in (0, 1):
            run_dir = f"hydra.run.dir=outputs/runs/{model}_{seed}"
            words = (f"model={model}", f"seed={seed}", f"trainer.max_epochs={epochs}")
            _lab(folder, "train", *words, run_dir)


def _figure(run_dir: Path, tag: str) -> None:
    """Write an image that a run has left for TensorBoard."""
    events = EventAccumulator(str(run_dir)).Reload()
    name = f"{run_dir.name.partition('_')[0]}_{tag.rpartition('/')[2]}.png"
    (DOCS / name).write_bytes(events.Images(tag)[-1].encoded_image_string)


@contextlib.contextmanager
def _server(command: list[str], folder: Path, pattern: str) -> Iterator[str]:
    """Run a server and yield the address that it prints."""
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(pattern, line):
                yield found[0]
                return
        raise RuntimeError(f"{command[0]}: ended without an address")
    finally:
        process.terminate()
        process.wait()


def _tensorboard(page: Page, folder: Path) -> None:
    command = [
        str(BIN / "tensorboard"),
        "--logdir",
        "outputs",
        "--port",
        "0",
        "--host",
        "127.0.0.1",
    ]
    with _server(command, folder, r"http://[\w.]+:\d+/") as address:
        runs = f"{address}data/runs"
        while b"cnn_1" not in urllib.request.urlopen(runs).read():
            time.sleep(0.5)
        page.set_viewport_size({"width": 1280, "height": 1060})
        shown = urllib.parse.urlencode({"smoothing": 0, "tagFilter": "^(train|val)/(acc|loss)$"})
        page.goto(f"{address}?darkMode=false&{shown}#timeseries")
        page.wait_for_selector("scalar-card")
        page.get_by_role("button", name="Settings").last.click()  # which takes a quarter of it
        page.wait_for_timeout(8_000)  # it draws its charts when it likes
        page.screenshot(path=DOCS / "tensorboard.png")


def _report(page: Page, folder: Path) -> None:
    _lab(folder, "report", "outputs", "--html", "report.html")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto((folder / "report.html").as_uri())
    page.wait_for_selector(".plotly")
    page.wait_for_timeout(2_000)
    page.screenshot(path=DOCS / "report.png")


def _drawing(page: Page, folder: Path) -> None:
    runs = ["outputs/runs/cnn_0", "outputs/runs/softmax_0"]
    command = [str(BIN / "mnist-lab"), "serve", *runs, "--port", "0"]
    with _server(command, folder, r"http://[\w.]+:\d+/") as address:
        page.set_viewport_size({"width": 1100, "height": 760})
        page.goto(address)
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        scale = box["width"] / 320
        places = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in THREE]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=6)
        page.mouse.up()
        page.wait_for_function("document.querySelector('.digit').textContent === '3'")
        page.wait_for_timeout(500)
        page.screenshot(path=DOCS / "page.png")


def _watch(folder: Path) -> None:
    """Draw the live table while a run trains."""
    words = ("train", "model=mlp", "trainer.max_epochs=50", "hydra.run.dir=outputs/runs/mlp_long")
    command = [str(BIN / "mnist-lab"), *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        with contextlib.chdir(folder):
            live = Live([Path("outputs")])
            while not any((beat := live.beat(row)) and beat.epoch > 2 for row in live.rows):
                live.look()
                time.sleep(0.5)
            console = Console(record=True, width=COLUMNS, file=io.StringIO())
            console.print(table(live, COLUMNS, 24))
    finally:
        process.terminate()
        process.wait()
    image = console.export_svg(title="mnist-lab runs watch")
    # Rich would have the image load a font from elsewhere.
    image = re.sub(r"@font-face \{.*?\}\s*", "", image, flags=re.DOTALL)
    (DOCS / "watch.svg").write_text(image, encoding="utf-8")


if __name__ == "__main__":
    main()
