"""What tests of faults share: one server for all tests of a file, a visitor of it, and a disk that is soon full."""

import os
import subprocess
from pathlib import Path

import pytest

from segapp.tests.serving import Served


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Each test leaves it with both workers running."""
    server = Served(tmp_path_factory.mktemp("faults"))
    try:
        server.start().wait_ready(300)
        yield server
    finally:
        server.stop()


@pytest.fixture
def visitor(server):
    return server.visitor()


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 64 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> None:
    """Take all room of a small disk but `leave` bytes."""
    with open(folder / "filler", "wb", buffering=0) as file:
        while (left := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - leave) > 0:
            file.write(b"\0" * min(left, 2**16))
