"""Windows of a large TIFF, decoded in a process of its own: what a file does to its decoder ends that process only.

The process gets the open file and memory that both sides see, limits itself, opens the file and then answers one window
after another, as readers/windows.py reads them. It sees no secrets, and can open no other file where the kernel has
Landlock.
"""

import fcntl
import json
import mmap
import os
import socket
import struct
import sys
from dataclasses import asdict
from typing import IO, Any

import numpy as np

from segapp.confine import ResourceLimits, started
from segapp.imaging.confined import UNREADABLE, descriptor
from segapp.imaging.formats import MAX_WINDOWED_PIXELS
from segapp.imaging.image_input import ImageInput
from segapp.imaging.invalid_file import InvalidFile

COMMAND = [sys.executable, "-m", "segapp.imaging.readers.windows_child"]
RESOURCES = ResourceLimits(memory=4 << 30, processor=24 * 3600, files=32)
SECONDS = 120.0  # for one window, after which the process counts as stuck; also for opening the file
ASKED = struct.Struct("qqqq")  # top, left, height, width of a window
READ = b"."  # the answer to a window that stands in memory; anything else is a refusal in JSON
MAX_MESSAGE = 1 << 20


class ConfinedWindows:
    """As readers.windows.Windows, of an open file. `close` ends its process.

    Raises InvalidFile for what cannot be read by windows, also while reading, and when the process dies or is stuck.
    """

    def __init__(self, file: IO[bytes], name: str, choice: ImageInput) -> None:
        self._name = name
        self._memory = os.memfd_create("windows", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(self._memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # reading what was cut off would end us
        self._process, self._socket = started([*COMMAND, str(os.getpid())])
        try:
            self._socket.settimeout(SECONDS)
            order = {"name": name, "choice": choice.to_dict(), "resources": asdict(RESOURCES)}
            with descriptor(file) as source:
                self._understand(self._answer(json.dumps(order).encode(), [source, self._memory]))
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
        os.close(self._memory)

    def _understand(self, found: Any) -> None:
        """What the process says of the image: anything, for a file may have taken it over. Raises InvalidFile."""
        try:
            self.height, self.width = int(found["height"]), int(found["width"])
            self.notes = tuple(str(note) for note in found["notes"])
            self.geo, self.pixel_size = dict(found["geo"]), dict(found["pixel_size"])
        except (KeyError, TypeError, ValueError):
            raise InvalidFile(self._name, *UNREADABLE) from None
        if min(self.height, self.width) < 1 or self.height * self.width > MAX_WINDOWED_PIXELS:
            raise InvalidFile(self._name, *UNREADABLE)

    def _answer(self, message: bytes, descriptors: tuple[int, ...] | list[int] = ()) -> dict[str, Any]:
        """What the process says to a message; {} to a window. Raises InvalidFile."""
        try:
            socket.send_fds(self._socket, [message], descriptors)
            said = self._socket.recv(MAX_MESSAGE)
        except OSError:  # it is gone, or nothing came for too long
            raise InvalidFile(self._name, *UNREADABLE) from None
        if said == READ:
            return {}
        try:
            found = json.loads(said)
            problem, advice = map(str, found["refused"]) if "refused" in found else ("", "")
        except (ValueError, TypeError):
            raise InvalidFile(self._name, *UNREADABLE) from None
        if problem:
            raise InvalidFile(self._name, problem, advice)
        return found
