"""Serves the page until it is stopped."""

import contextlib
import errno
import socket
from collections.abc import Mapping

import uvicorn

from mnist_lab.errors import BusyError, ConfigError, reason
from mnist_lab.inference.web.app import build_app
from mnist_lab.models import Classifier

_LOOPBACK = ("127.0.0.1", "localhost")


def serve(models: Mapping[str, Classifier], address: str, port: int) -> None:
    """Serve the page until Ctrl-C or SIGTERM, after which the caller's own handler is called.

    Args:
        models: the models by the names of their runs.
        address: the IPv4 address to listen on.
        port: the port; 0 takes one that is free.

    Raises:
        BusyError: the port is taken.
        ConfigError: this machine has no such address, or the port is not for everyone.
    """
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(64)
        except OSError as error:
            kind = BusyError if error.errno == errno.EADDRINUSE else ConfigError
            raise kind(f"{address}:{port}: {reason(error)}; --port 0 takes a free one") from error
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            build_app(models, _hosts(address, port)),
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
        print(f"http://{address}:{port}/ is the page; Ctrl-C ends it", flush=True)
        uvicorn.Server(config).run(sockets=[listener])


def _hosts(address: str, port: int) -> list[str]:
    names = _LOOPBACK if address in _LOOPBACK else (address,)
    return [*(f"{name}:{port}" for name in names), *(names if port == 80 else ())]
