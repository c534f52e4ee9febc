"""Windows of a large TIFF, decoded in a process of its own: what a file does to its decoder ends that process only.

The process gets the open file and memory that both sides see, limits itself, opens the file and then answers one window
after another, as readers/windows.py reads them. It can open no other file and sees no secrets.
"""

import fcntl
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
from dataclasses import asdict
from typing import IO, Any

import numpy as np

from segapp.confine import ResourceLimits, environment
from segapp.imaging.confined import ROOT, descriptor
from segapp.imaging.image_input import ImageInput
from segapp.imaging.invalid_file import InvalidFile

COMMAND = [sys.executable, "-m", "segapp.imaging.readers.windows_child"]
RESOURCES = ResourceLimits(memory=4 << 30, processor=24 * 3600, files=32)
SECONDS = 120.0  # for one window, after which the process counts as stuck; also for opening the file
ASKED = struct.Struct("qqqq")  # top, left, height, width of a window
READ = b"."  # the answer to a window that stands in memory; anything else is a refusal in JSON
MAX_MESSAGE = 1 << 20
DIED = (
    "It could not be read: it is damaged, or needs more memory or time than it may have.",
    "Save it again, uncompressed or with another compression, and add that file.",
)


class ConfinedWindows:
    """As readers.windows.Windows, of an open file. `close` ends its process.

    Raises InvalidFile for what cannot be read by windows, also while reading, and when the process dies or is stuck.
    """

    def __init__(self, file: IO[bytes], name: str, choice: ImageInput) -> None:
        self._name = name
        self._memory = os.memfd_create("windows", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(self._memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # reading what was cut off would end us
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*COMMAND, str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
                env=environment(),
            )
        try:
            self._socket.settimeout(SECONDS)
            order = {"name": name, "choice": choice.to_dict(), "resources": asdict(RESOURCES)}
            with descriptor(file) as source:
                found = self._answer(json.dumps(order).encode(), [source, self._memory])
            self.height, self.width = int(found["height"]), int(found["width"])
            self.notes = tuple(str(note) for note in found["notes"])
            self.geo, self.pixel_size = dict(found["geo"]), dict(found["pixel_size"])
        except BaseException:
            self.close()
            raise

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """uint8 (height, width, 3) of the image from (top, left) on, which must lie within it."""
        size = height * width * 3
        if os.fstat(self._memory).st_size < size:
            os.ftruncate(self._memory, size)
        self._answer(ASKED.pack(top, left, height, width))
        with mmap.mmap(self._memory, size, access=mmap.ACCESS_READ) as seen:
            return np.frombuffer(seen[:], np.uint8).reshape(height, width, 3)

    def close(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _answer(self, message: bytes, descriptors: tuple[int, ...] | list[int] = ()) -> dict[str, Any]:
        """What the process says to a message; {} to a window. Raises InvalidFile."""
        try:
            socket.send_fds(self._socket, [message], descriptors)
            said = self._socket.recv(MAX_MESSAGE)
        except OSError:  # it is gone, or nothing came for too long
            raise InvalidFile(self._name, *DIED) from None
        if said == READ:
            return {}
        try:
            found = json.loads(said)
            problem, advice = map(str, found["refused"]) if "refused" in found else ("", "")
        except (ValueError, TypeError):
            raise InvalidFile(self._name, *DIED) from None
        if problem:
            raise InvalidFile(self._name, problem, advice)
        return found
