"""The server ends cleanly, and listens to this machine only."""

import asyncio
import contextlib
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from served import served
from uvicorn.server import ServerState

from mnist_lab.errors import BusyError, ConfigError
from mnist_lab.inference.web import server
from mnist_lab.inference.web.app import build_app
from mnist_lab.inference.web.server import listen

_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
_WHOLE = _HEAD + b"\r\n"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_ends_cleanly(trained: Path, signum: int, code: int) -> None:
    with served(trained) as (process, port):
        waiting = socket.create_connection(("127.0.0.1", port))
        before = time.monotonic()
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
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


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"203\.0\.113\.7:0: "):
        listen("203.0.113.7", 0)


def test_a_port_that_is_taken_is_busy(port: int) -> None:
    with pytest.raises(BusyError, match="--port 0 takes a free one"):
        listen("127.0.0.1", port)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b""], id="nothing"),
        pytest.param([_HEAD], id="half a head"),
        pytest.param([_HEAD, *[b"a"] * 40], id="a head byte by byte"),
        pytest.param([_WHOLE, b"GET /", *[b"a"] * 40], id="half of a second head"),
        pytest.param([_HEAD + b"Content-Length: 90\r\n\r\n", *[b"a"] * 40], id="half a body"),
    ],
)
def test_a_connection_ends_where_its_request_does_not_arrive(
    parts: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SECONDS", dict.fromkeys(server._SECONDS, 0.3))
    connections = asyncio.run(_sent(parts))
    assert connections == set()


async def _sent(parts: list[bytes]) -> set[Any]:
    """Send parts of requests, one each tenth of a second, and return what connections are left."""
    config = server.configured(build_app({}, ["a"]))
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: config.http_protocol_class(config, state, {}), "127.0.0.1"
    )
    async with listener:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.1)
            if reader.at_eof():
                break
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(reader.read(), 3)
        writer.close()
        return set(state.connections)


def test_a_connection_waits_for_a_whole_request() -> None:
    connections = asyncio.run(_sent([_HEAD, b"\r\n", _WHOLE]))
    assert len(connections) == 1


def test_a_request_for_a_websocket_leaves_the_terminal_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    asyncio.run(_sent([_HEAD + upgrade, b""]))
    assert "".join(capfd.readouterr()) == ""
