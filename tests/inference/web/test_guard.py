"""The page as others attack it."""

import contextlib
import socket

import pytest
from served import as_png, asked

from mnist_lab.data.mnist_files import Split


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "localhost@evil"],
)
def test_a_foreign_host_is_refused(port: int, host: str) -> None:
    for method, path in (("GET", "/"), ("GET", "/runs"), ("POST", "/predict")):
        assert asked(port, method, path, Host=host.format(port=port))[0] == 421


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:{port}.evil"],
)
def test_a_foreign_origin_is_refused(port: int, origin: str, mnist_test: Split) -> None:
    body = as_png(mnist_test.images[0, 0].numpy())
    assert asked(port, "POST", "/predict", body, Origin=origin.format(port=port))[0] == 403
    assert asked(port, "POST", "/predict", body, Sec_Fetch_Site="cross-site")[0] == 403
    assert asked(port, "POST", "/predict", body)[0] == 200


def test_no_origin_is_no_origin_of_the_page(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode()
            + b"Content-Length: 0\r\n\r\n"
        )
        assert b" 403 " in client.recv(100)


def test_a_body_of_a_gigabyte_is_refused_before_it_is_read(port: int) -> None:
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(f"{head}Content-Length: 1000000000\r\n\r\n".encode())
        assert b" 413 " in client.recv(100)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:  # of no said length
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        with contextlib.suppress(OSError):
            for _ in range(1000):
                client.sendall(b"f4240\r\n" + bytes(1_000_000) + b"\r\n")
                sent += 1
        assert sent < 100


@pytest.mark.parametrize(
    "path",
    [
        *("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/file=/etc/passwd"),
        *("/page.js/../../app.py", "/page/../app.py", "/page.css%00", "/..\\..\\app.py"),
    ],
)
def test_no_path_leads_anywhere(port: int, path: str) -> None:
    assert asked(port, "GET", path)[0] == 404
    assert asked(port, "DELETE", "/")[0] == 405


def test_headers_bind_the_page_to_itself(port: int) -> None:
    _, _, headers = asked(port, "GET", "/")
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers
