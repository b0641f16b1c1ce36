"""The server ends cleanly, and listens to this machine only."""

import signal
import socket
import time
from pathlib import Path

import pytest
from served import served

from mnist_lab.errors import BusyError, ConfigError
from mnist_lab.inference.web.server import listen


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


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"203\.0\.113\.7:0: "):
        listen("203.0.113.7", 0)


def test_a_port_that_is_taken_is_busy(port: int) -> None:
    with pytest.raises(BusyError, match="--port 0 takes a free one"):
        listen("127.0.0.1", port)
