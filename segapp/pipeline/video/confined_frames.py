"""Decoding a video in a process of its own: what a file does to its decoder ends that process only.

The process is started before it is needed, is told which file to decode, limits itself and opens it: it may read this
file and no other. Frames come back through memory that both sides see, a few at a time. Knows nothing of networks,
masks or rows.
"""

import fcntl
import json
import math
import mmap
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from segapp.confine import ResourceLimits, confine, forbid_paths, started
from segapp.pipeline.video.demux import InvalidVideo, Limits, Tally, import_all_parts
from segapp.pipeline.video.frames import StoredFrame
from segapp.pipeline.video.inputs import InputFrame, Wanted, input_frames
from segapp.pipeline.video.probe import Source
from segapp.supervisor import die_with_parent

COMMAND = [sys.executable, "-m", "segapp.pipeline.video.confined_frames"]
RESOURCES = ResourceLimits(memory=3 << 30, processor=24 * 3600)
SLOTS = 4  # frames in the memory that both sides see
SECONDS = 300.0  # without a frame, after which the process counts as stuck; a late start decodes all that is before it
SENT = struct.Struct("iqq??")  # slot, time, frames left out so far, whether there is an image, whether it is a cut
FRAME, END, REFUSED = b"F", b"E", b"R"
TOO_MUCH = (
    "This video could not be decoded: it is damaged, or needs more memory or time than it may have. "
    "Convert it to H.264 in MP4 and upload it again."
)


class FrameProcess:
    """A process that decodes one video. Used once; `close` ends it at any time."""

    def __init__(self) -> None:
        self._process, self._socket = started([*COMMAND, str(os.getpid())])

    def frames(self, path: Path, wanted: Wanted, tally: Tally) -> Iterator[InputFrame]:
        """What inputs.input_frames gives. Raises InvalidVideo, also when the process dies or is stuck."""
        order = {
            "path": str(path.resolve()),
            "source": wanted.source.to_dict(),
            "wanted": {**asdict(wanted), "source": None},
            "resources": asdict(RESOURCES),
        }
        memory = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(memory, SLOTS * slot_bytes(wanted))
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            self._socket.settimeout(SECONDS)
            socket.send_fds(self._socket, [json.dumps(order).encode()], [memory])
            yield from self._received(mapped(memory, wanted), wanted, tally)
        except OSError as error:  # it is gone, or nothing came for too long
            raise InvalidVideo(TOO_MUCH) from error
        finally:
            os.close(memory)
            self.close()

    def _received(self, shared: np.ndarray, wanted: Wanted, tally: Tally) -> Iterator[InputFrame]:
        last: int | None = None
        while True:
            message = self._socket.recv(1 << 16)
            kind, body = message[:1], message[1:]
            if kind == REFUSED:
                raise InvalidVideo(body.decode(errors="replace"))
            if kind == END and len(body) == 8:
                tally.skipped = int.from_bytes(body, "little")
                return
            if kind != FRAME or len(body) != SENT.size:
                raise InvalidVideo(TOO_MUCH)
            slot, pts, tally.skipped, has_image, cut = SENT.unpack(body)
            if not 0 <= slot < SLOTS or (last is not None and pts <= last):
                raise InvalidVideo(TOO_MUCH)
            last = pts
            *planes, image = parts(shared[slot].copy(), wanted)
            self._socket.send(bytes([slot]))
            yield InputFrame(StoredFrame(planes, pts, wanted.source), image if has_image else None, cut)

    def close(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()


def shapes(wanted: Wanted) -> list[tuple[int, ...]]:
    """Of what a slot holds: the planes Y, U and V as they are coded, and the image."""
    width, height = wanted.source.coded_size
    half = ((height + 1) // 2, (width + 1) // 2)
    return [(height, width), half, half, (*wanted.size, 3)]


def slot_bytes(wanted: Wanted) -> int:
    return sum(math.prod(shape) for shape in shapes(wanted))


def parts(slot: np.ndarray, wanted: Wanted) -> list[np.ndarray]:
    """Views of what a slot, uint8 (n), holds."""
    found, place = [], 0
    for shape in shapes(wanted):
        found.append(slot[place : place + math.prod(shape)].reshape(shape))
        place += math.prod(shape)
    return found


def mapped(memory: int, wanted: Wanted) -> np.ndarray:
    """uint8 (SLOTS, n): the memory that both sides see."""
    size = slot_bytes(wanted)
    return np.frombuffer(mmap.mmap(memory, SLOTS * size), np.uint8).reshape(SLOTS, size)


# --- in the process ---------------------------------------------------------------------------------------


def main() -> None:
    """Wait for an order, decode, answer."""
    die_with_parent(int(sys.argv[1]))
    parent = socket.socket(fileno=0)
    import_all_parts()
    message, descriptors, _, _ = socket.recv_fds(parent, 1 << 16, 1)
    if not message:
        return
    order = json.loads(message)
    source, limits = Source.from_dict(order["source"]), Limits(**order["wanted"]["limits"])
    wanted = Wanted(**{**order["wanted"], "source": source, "limits": limits})
    path, shared, tally = Path(order["path"]), mapped(descriptors[0], wanted), Tally()
    forbid_paths(path)
    confine(ResourceLimits(**order["resources"]))
    try:
        send_all(parent, shared, path, wanted, tally)
    except InvalidVideo as refused:
        parent.send(REFUSED + str(refused).encode())
    else:
        parent.send(END + tally.skipped.to_bytes(8, "little"))
    while parent.recv(SLOTS):  # to end before all is read would take from the other side what it has not read
        pass


def send_all(parent: socket.socket, shared: np.ndarray, path: Path, wanted: Wanted, tally: Tally) -> None:
    free = list(range(SLOTS))
    for found in input_frames(path, wanted, tally):
        while not free:
            free += parent.recv(SLOTS) or sys.exit(0)
        slot = free.pop()
        *planes, image = parts(shared[slot], wanted)
        for plane, coded in zip(planes, found.frame.coded(), strict=True):
            plane[:] = coded
        if found.image is not None:
            image[:] = found.image
        has_image = found.image is not None
        parent.send(FRAME + SENT.pack(slot, found.frame.pts, tally.skipped, has_image, found.cut))


if __name__ == "__main__":
    main()
