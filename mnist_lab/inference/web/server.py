"""Server of the page."""

import asyncio
import errno
import socket
from collections.abc import Mapping

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from mnist_lab.errors import BusyError, ConfigError, reason
from mnist_lab.inference.predict import OpenRun
from mnist_lab.inference.web.app import build_app

_LOOPBACK = ("127.0.0.1", "localhost")
# Seconds in which a request's head, and then its body, must have arrived. Uvicorn sets no limit, so
# halves of requests would keep everybody out. For a body the app's own limit comes first.
_SECONDS = {h11.IDLE: 5, h11.SEND_BODY: 25}


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens, which the caller closes.

    Raises:
        BusyError: another process listens on the port.
        ConfigError: this machine has no such address, or the port needs more rights.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        kind = BusyError if error.errno == errno.EADDRINUSE else ConfigError
        raise kind(f"{address}:{port}: {reason(error)}; --port 0 takes a free one") from error
    return listener


def serve(runs: Mapping[str, OpenRun], listener: socket.socket) -> None:
    """Serve the page until Ctrl-C or SIGTERM, after which the caller's own handler is called."""
    address, port = listener.getsockname()
    names = _LOOPBACK if address in _LOOPBACK else (address,)
    hosts = [f"{name}:{port}" for name in names] + (list(names) if port == 80 else [])
    config = configured(build_app(runs, hosts))
    uvicorn.Server(config).run(sockets=[listener])


def configured(app: Starlette) -> uvicorn.Config:
    """Return the server's settings for the page's application."""
    return uvicorn.Config(
        app,
        http=_Connection,
        ws="none",
        lifespan="off",
        log_level="error",  # warnings are about requests, which whoever asks can send
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=64,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )


class _Connection(H11Protocol):
    """A connection that ends where a request does not arrive in time, however slowly it comes."""

    awaited: object = None  # the state that the limit is for
    limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the head of a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request, and wait for what is still missing."""
        super().data_received(data)
        self._wait()

    def _wait(self) -> None:
        state = self.conn.their_state
        if state is self.awaited:
            return
        self.awaited = state
        if self.limit is not None:
            self.limit.cancel()
        seconds = _SECONDS.get(state)
        self.limit = self.loop.call_later(seconds, self.transport.abort) if seconds else None
