"""The confined process that reads windows of a TIFF: `python -m segapp.imaging.readers.windows_child PARENT < SOCKET`.

It gets an order with the file and the memory for windows, limits itself, says what it found, and then reads a window
for every message until the other end is closed.
"""

import io
import json
import mmap
import socket
import sys
from contextlib import suppress
from typing import Any

import numpy as np
import tifffile
from tifffile import TIFF

from segapp.confine import ResourceLimits, confine, forbid_paths
from segapp.imaging.confined_windows import ASKED, MAX_MESSAGE, READ
from segapp.imaging.image_input import ImageInput
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.readers.windows import Windows
from segapp.supervisor import die_with_parent


def main() -> None:
    die_with_parent(int(sys.argv[1]))
    parent = socket.socket(fileno=0)
    prepare()
    message, descriptors, _, _ = socket.recv_fds(parent, MAX_MESSAGE, 2)
    if not message:
        return
    order = json.loads(message)
    source, memory = descriptors
    forbid_paths()
    confine(ResourceLimits(**order["resources"]))
    with open(source, "rb") as file:
        file.seek(0)  # a copy in memory stands at its end
        try:
            image = Windows(file, order["name"], ImageInput.from_dict(order["choice"]))
        except InvalidFile as error:
            parent.send(refused(error))
            return
        parent.send(described(image))
        while asked := parent.recv(ASKED.size):
            parent.send(window(image, memory, *ASKED.unpack(asked)))


def prepare() -> None:
    """Have everything imported that is imported when a file first needs it: later no file can be opened."""
    for kind in (*tifffile.COMPRESSION, *tifffile.PREDICTOR):
        with suppress(KeyError):
            (TIFF.DECOMPRESSORS if isinstance(kind, tifffile.COMPRESSION) else TIFF.UNPREDICTORS)[kind]
    some: list[dict[str, Any]] = [{"ome": True, "tile": (16, 16)}, {"imagej": True, "rowsperstrip": 8}]
    for options in (*some, {"compression": "zlib", "tile": (16, 16)}):
        file = io.BytesIO()
        tifffile.imwrite(file, np.arange(1024, dtype=np.uint16).reshape(32, 32), **options)
        file.seek(0)
        Windows(file, "", ImageInput()).read(0, 0, 32, 32)


def described(image: Windows) -> bytes:
    names = ("height", "width", "notes", "geo", "pixel_size")
    return json.dumps({name: getattr(image, name) for name in names}).encode()


def window(image: Windows, memory: int, top: int, left: int, height: int, width: int) -> bytes:
    """The answer to a window, which then stands in the memory."""
    try:
        values = image.read(top, left, height, width)
    except InvalidFile as error:
        return refused(error)
    with mmap.mmap(memory, values.nbytes) as shared:
        shared[:] = np.ascontiguousarray(values).data.cast("B")
    return READ


def refused(error: InvalidFile) -> bytes:
    return json.dumps({"refused": [error.problem, error.advice]}).encode()


if __name__ == "__main__":
    main()
