"""Server of the page."""

import errno
import socket
from collections.abc import Mapping

import uvicorn

from mnist_lab.errors import BusyError, ConfigError, reason
from mnist_lab.inference.web.app import build_app
from mnist_lab.models import Classifier

_LOOPBACK = ("127.0.0.1", "localhost")


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens, which the caller closes.

    Args:
        address: the IPv4 address to listen on.
        port: the port; 0 takes one that is free.

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


def serve(models: Mapping[str, Classifier], listener: socket.socket) -> None:
    """Serve the page until Ctrl-C or SIGTERM, after which the caller's own handler is called.

    Args:
        models: the models by the names of their runs.
        listener: the socket to serve it on.
    """
    address, port = listener.getsockname()
    names = _LOOPBACK if address in _LOOPBACK else (address,)
    hosts = [f"{name}:{port}" for name in names] + (list(names) if port == 80 else [])
    config = uvicorn.Config(
        build_app(models, hosts),
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=64,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])
