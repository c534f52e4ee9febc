"""The compose file's nginx, run natively with its own configuration in front of a real server."""

import os
import shutil
import socket
import subprocess
import time

import pytest

from segapp.home import PROJECT
from segapp.tests.fixtures import unavailable
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.serving import Browser, Served, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """(address of nginx, the server behind it)"""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        unavailable("there is no nginx; on Debian: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    server = Served(folder / "home").start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = (PROJECT / "deploy" / "nginx.conf").read_text()
    for ours, here in (
        ("http://web:8000", server.url),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        ("/tmp/", f"{folder}/"),
    ):
        assert ours in text
        text = text.replace(ours, here)
    if os.getuid() == 0:
        text = "user root;\n" + text
    configuration = folder / "nginx.conf"
    configuration.write_text(text)
    process = subprocess.Popen([program, "-g", "daemon off;", "-c", str(configuration)], start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: _listens(port), 20)
        yield url, server
    finally:
        process.terminate()
        process.wait(10)
        server.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_pages_and_uploads_pass_through(front):
    url, server = front
    server.wait_ready()
    visitor = Browser(url)
    assert visitor.get("/").status == 200
    answer = visitor.post("/api/segment", {}, [("file", "p.png", saved(photo(64)).getvalue())])
    assert answer.status == 200, answer.body
    assert visitor.get(answer.json()["mask_url"].removeprefix(url)).status == 200


def test_clients_that_stop_end_at_nginx(front):
    url, _ = front
    port = int(url.rpartition(":")[2])
    stopped = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    for one in stopped:
        one.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    time.sleep(12)
    began = time.monotonic()
    assert Browser(url).get("/").status == 200
    assert time.monotonic() - began < 3
    for one in stopped:
        one.settimeout(2)
        assert b"408" in (received := one.recv(512)) or received == b""
        one.close()
