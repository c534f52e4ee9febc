"""Clients that stop in the middle of a request hold no thread, are closed after a while, and stop nobody else."""

import socket
import time
from urllib.parse import urlparse

import pytest

from segapp.gunicorn_worker import CHECK_SECONDS, IDLE_SECONDS
from segapp.tests.serving import Served, until

pytestmark = pytest.mark.slow
STOPPED = 80
HEAD = b"POST /api/segment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    server = Served(tmp_path_factory.mktemp("slow") / "home")
    try:
        yield server.start()
    finally:
        server.stop()


def half_sent(url: str, content: bytes) -> socket.socket:
    """A connection on which `content` was sent and nothing follows."""
    address = urlparse(url)
    connection = socket.create_connection((address.hostname, address.port))
    connection.sendall(content)
    return connection


def closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.fault(50)
@pytest.mark.parametrize(
    "content", [HEAD, HEAD + b"Content-Length: 9000\r\n\r\n--x\r\n"], ids=["in its head", "in its body"]
)
def test_eighty_clients_that_stop_do_not_stop_the_site(web, content):
    stopped = [half_sent(web.url, content) for _ in range(STOPPED)]
    try:
        time.sleep(12)
        began = time.monotonic()
        assert web.visitor().get("/").status == 200
        assert time.monotonic() - began < 3
        until(lambda: all(closed(one) for one in stopped), IDLE_SECONDS + 3 * CHECK_SECONDS)
    finally:
        for one in stopped:
            one.close()


def test_a_client_that_sends_a_byte_now_and_then_is_closed_too(web):
    connection = half_sent(web.url, HEAD)
    deadline = time.monotonic() + IDLE_SECONDS + 4 * CHECK_SECONDS
    while not closed(connection):
        assert time.monotonic() < deadline
        connection.setblocking(True)
        try:
            connection.sendall(b"x")
        except OSError:
            break
        time.sleep(1)
    connection.close()


def test_an_upload_that_is_too_large_is_refused_and_none_of_it_is_stored(web):
    length = 300 * 10**6
    head = HEAD.replace(b"segment", b"finetune") + f"Content-Length: {length}\r\nConnection: close\r\n\r\n".encode()
    connection = half_sent(web.url, head)
    piece = b"\0" * 2**20
    sent = 0
    while sent < length:
        size = min(len(piece), length - sent)
        connection.sendall(piece[:size])
        sent += size
    connection.settimeout(30)
    answer = connection.recv(2**16)
    connection.close()
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    memory = web.visitor().get("/api/health")
    assert memory.status == 200


def test_an_upload_that_does_not_fit_is_refused_by_its_length_and_none_of_it_is_stored(tmp_path):
    server = Served(tmp_path / "home", SEGAPP_SERVER_MB="1")
    try:
        server.start()
        length = 150 * 10**6
        connection = half_sent(server.url, HEAD + f"Content-Length: {length}\r\nConnection: close\r\n\r\n".encode())
        temporary, piece, sent, largest = tmp_path / "home" / "var" / "tmp", b"\0" * 2**20, 0, 0
        while sent < length:
            size = min(len(piece), length - sent)
            connection.sendall(piece[:size])
            sent += size
            largest = max(largest, sum(path.stat().st_size for path in temporary.iterdir()))
        connection.settimeout(30)
        answer = connection.recv(2**16)
        connection.close()
    finally:
        server.stop()
    assert answer.startswith(b"HTTP/1.1 507"), answer[:200]
    assert largest < 2**20
