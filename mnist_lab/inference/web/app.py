"""Routes of the page: its four files, the names of the runs, and the models' predictions.

It is Starlette and a page of our own, as Gradio 6.31 cannot do without client paths: its routes
``/file=`` and ``/proxy=`` take one, a drawing is an upload that it keeps as a file, and the origin
of a request is only left out of the answer's headers, not refused. It also brings 341 MB in 52
packages. Here no route contains a path that a client chooses, and no image touches the disk.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from mnist_lab.errors import LabError
from mnist_lab.files.images import data_url, decode_image
from mnist_lab.inference.predict import OpenRun, recognize
from mnist_lab.inference.web.guard import Guard
from mnist_lab.inference.web.saliency import saliency

MAX_BODY = 16_000_000  # bytes of an image
_BODY_SECONDS = 20  # in which it must have arrived
_MAX_WAITING = 8  # images that are held at a time, whoever sends them
_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def build_app(runs: Mapping[str, OpenRun], hosts: list[str]) -> Starlette:
    """Return the page's application.

    Args:
        runs: what the page asks, by the names that it shows side by side.
        hosts: the hosts, with port, that it is served by.
    """
    recognizer = _Recognizer(runs)
    return Starlette(
        routes=[
            *(Route(path, _file(*file), methods=["GET"]) for path, file in _FILES.items()),
            Route("/runs", recognizer.runs, methods=["GET"]),
            Route("/predict", recognizer.predict, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, hosts=hosts)],
    )


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:

    async def send(_: Request) -> Response:
        return FileResponse(_PAGE / name, media_type=media_type)

    return send


class _Recognizer:
    """The endpoints that ask the models, which are known by the names of their runs."""

    def __init__(self, opened: Mapping[str, OpenRun]) -> None:
        self.opened = opened
        self.lock = threading.Lock()  # one image at a time: decoders and torch use every core
        self.waiting = threading.BoundedSemaphore(_MAX_WAITING)

    async def runs(self, _: Request) -> Response:
        """Send the names of the runs, and of the classes that have one."""
        names = {name: run.class_names for name, run in self.opened.items() if run.class_names}
        content = {"runs": list(self.opened), "class_names": names, "max_bytes": MAX_BODY}
        return JSONResponse(content)

    async def predict(self, request: Request) -> Response:
        """Send each model's prediction for the image in a request's body."""
        if not self.waiting.acquire(blocking=False):
            return _refusal("busy; try again", 503)
        try:
            content = await asyncio.wait_for(_body(request), _BODY_SECONDS)
            if content is None:
                return _refusal(f"more than {MAX_BODY / 1e6:.0f} MB; scale the image down", 413)
            return JSONResponse(await run_in_threadpool(self._predictions, content))
        except LabError as error:
            return JSONResponse({"error": str(error)}, 422)
        except (TimeoutError, ClientDisconnect):
            return Response(status_code=408, headers={"connection": "close"})
        finally:
            self.waiting.release()

    def _predictions(self, content: bytearray) -> dict[str, Any]:
        with self.lock:
            image = decode_image(content, "the image")
            sets = {(run.dataset, run.in_shape): run for run in self.opened.values()}
            inputs = {kind: run.inputs(image) for kind, run in sets.items()}
            runs = [
                _answer(name, run, inputs[run.dataset, run.in_shape])
                for name, run in self.opened.items()
            ]
        return {"seen": data_url(np.hstack(next(iter(inputs.values())))), "runs": runs}


def _refusal(error: str, status: int) -> Response:
    """Return an error after which the rest of a request's body is not read."""
    return JSONResponse({"error": error}, status, headers={"connection": "close"})


async def _body(request: Request) -> bytearray | None:
    """Return a request's body, or None as soon as it is, or announces itself, too large."""
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY:
        return None
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY:
            return None
    return content


def _answer(name: str, run: OpenRun, digits: list[NDArray[np.uint8]]) -> dict[str, Any]:
    """Return a model's prediction for each digit, and their saliency side by side.

    A model that cannot answer has its error in their place, so that the others' answers are shown.
    """
    answer: dict[str, Any] = {"run": name, "digits": []}
    try:
        predictions = recognize(run.model, [digits], [name], run.class_names)
    except LabError as error:
        return answer | {"error": str(error)}
    answer["digits"] = [row.as_json() for row in predictions]
    if predictions[0].digit is not None:
        maps = [saliency(run.model, pixels) for pixels in digits]
        if found := [pixels for pixels in maps if pixels is not None]:
            answer["saliency"] = data_url(np.hstack(found))
    return answer
