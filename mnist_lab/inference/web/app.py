"""The page's routes: four files, the runs' names, and what the models say about a picture.

It is Starlette and a page of our own, as Gradio 6.31 cannot do without client paths: its routes
``/file=`` and ``/proxy=`` take one, a drawing is an upload that it keeps as a file, and the origin
of a request is only left out of the answer's headers, not refused. It also brings 341 MB in 52
packages. Here no route has a path in it that a client chooses, and no picture touches the disk.
"""

import asyncio
import threading
from collections.abc import Mapping
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

from mnist_lab.errors import InputError
from mnist_lab.files.images import data_address, decode_image
from mnist_lab.inference.digit_finder import to_mnist
from mnist_lab.inference.predict import recognize
from mnist_lab.inference.web.guard import Guard
from mnist_lab.inference.web.saliency import saliency
from mnist_lab.models import Classifier

MAX_BODY = 16_000_000  # bytes of a picture
_BODY_SECONDS = 20  # in which it must have come
_MAX_WAITING = 8  # pictures that are held at a time, whoever sends them
_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def build_app(models: Mapping[str, Classifier], hosts: list[str]) -> Starlette:
    """Return the page's application.

    Args:
        models: the models by the names of their runs, which the page shows side by side.
        hosts: the hosts, with port, that it is served by.
    """
    lock = threading.Lock()  # one picture at a time: their decoders and torch use every core
    waiting = threading.BoundedSemaphore(_MAX_WAITING)

    def answer(content: bytes) -> dict[str, Any]:
        with lock:
            pixels = to_mnist(decode_image(content, "the picture"))
            answers = [_answer(name, model, pixels) for name, model in models.items()]
        return {"seen": data_address(pixels), "is_empty": not pixels.any(), "runs": answers}

    async def predict(request: Request) -> Response:
        if not waiting.acquire(blocking=False):
            return JSONResponse({"error": "busy; try again"}, 503, headers={"connection": "close"})
        try:
            content = await asyncio.wait_for(_body(request), _BODY_SECONDS)
            if content is None:
                # Whoever still sends what is not wanted would otherwise be read to the end.
                too_large = f"more than {MAX_BODY / 1e6:.0f} MB; scale the picture down"
                return JSONResponse({"error": too_large}, 413, headers={"connection": "close"})
            return JSONResponse(await run_in_threadpool(answer, content))
        except InputError as error:
            return JSONResponse({"error": str(error)}, 422)
        except (TimeoutError, ClientDisconnect):
            return Response(status_code=408, headers={"connection": "close"})
        finally:
            waiting.release()

    async def runs(_: Request) -> Response:
        return JSONResponse({"runs": list(models), "max_bytes": MAX_BODY})

    def file(name: str, media_type: str) -> Any:
        async def send(_: Request) -> Response:
            return FileResponse(_PAGE / name, media_type=media_type)

        return send

    return Starlette(
        routes=[
            *(Route(path, file(*one), methods=["GET"]) for path, one in _FILES.items()),
            Route("/runs", runs, methods=["GET"]),
            Route("/predict", predict, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, hosts=hosts)],
    )


async def _body(request: Request) -> bytes | None:
    """Return a request's body, or None as soon as it is, or says that it will be, too large."""
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY:
        return None
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY:
            return None
    return bytes(content)


def _answer(name: str, model: Classifier, pixels: NDArray[np.uint8]) -> dict[str, Any]:
    (one,) = recognize(model, [pixels], [name])
    answer = one.as_json() | {"run": name}
    del answer["file"]
    if one.digit is not None:
        answer["saliency"] = data_address(saliency(model, pixels))
    return answer
