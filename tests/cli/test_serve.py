"""mnist-lab serve, used wrongly."""

import socket
from pathlib import Path

import pytest
from door import call


def test_a_port_that_is_taken(trained: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
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
