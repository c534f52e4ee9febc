"""Reading what Pillow reads, in a process that is forked for each file and may not use more than its share.

A decoder is a large program in C, and the file is a stranger's. A process that waits (readers/fork_server.py) is
started when the first file comes, and again when it is gone; for each file it forks, and the fork reads the file
without opening anything, within limits of memory and time. Pixels come back in memory that both see. There is no other
way: where that process cannot be started, no image is read.
"""

import atexit
import fcntl
import json
import logging
import mmap
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO, Any

import numpy as np

from segapp.confine import ResourceLimits, started
from segapp.imaging.confined import Answer, descriptor, understood
from segapp.imaging.formats import MAX_PIXELS
from segapp.imaging.image_input import ImageInput
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.memory import DecodersBusy

COMMAND = [sys.executable, "-m", "segapp.imaging.readers.fork_server"]
LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # a fork's memory is new, and small pages take a fault each
ASKED = struct.Struct("d")  # seconds that a fork may take; with it go the file, a socket to answer by, and the output
STARTED = b"+"  # what a fork says first
PROCESSOR, CLOCK = 60, 60  # seconds for one file
SPARE = 128 << 20  # bytes of address space beside twice what decoding takes by the header
AT_ONCE = 8  # forks of one process; other files wait
PATIENCE = 20.0  # seconds that a file waits for its turn
LATE = 30.0  # seconds behind its time after which the waiting process itself counts as stuck
TRIES = 2  # a file that ends the process that waits, or that was to be read when it ended, is tried once more
MAX_SAID = 1 << 20

logger = logging.getLogger(__name__)
_turns = threading.BoundedSemaphore(AT_ONCE)
_lock = threading.Lock()


class DecoderMissing(DecodersBusy):
    """The process that decodes images cannot be started."""

    message = "Images cannot be decoded right now. Try again in a few seconds; nothing was stored."


@dataclass
class _Server:
    process: subprocess.Popen[bytes]
    control: socket.socket


_server: _Server | None = None


def read(
    what: str, file: IO[bytes], name: str, choice: ImageInput, need: int, limits: ResourceLimits | None = None
) -> Answer:
    """What readers/pillow.py makes of the file. `what`: image, mask, grey, original or values; `need`: bytes that
    decoding takes by the header.

    Raises InvalidFile, and DecodersBusy where too many files are read or the decoder cannot be started.
    """
    limits = limits or ResourceLimits(2 * need + SPARE, PROCESSOR, CLOCK, files=0, written=need + (1 << 20))
    order = {"reader": "pillow", "what": what, "name": name, "choice": choice.to_dict(), "most": MAX_PIXELS}
    asked = json.dumps({**order, "limits": asdict(limits)}).encode() + b"\n"
    if not _turns.acquire(timeout=PATIENCE):
        raise DecodersBusy
    try:
        with descriptor(file) as source:
            header, body = _ask(asked, source, limits.clock)
    finally:
        _turns.release()
    answer = understood(header, body, name)
    if what == "image" and (answer.values.dtype != np.uint8 or answer.values.shape[2:] != (3,)):
        raise InvalidFile(name, "This file is cut off or damaged.", "Export or download it again.")
    return answer


def start() -> None:
    """Start the process that decodes, so that the first file need not wait for it. Raises DecoderMissing."""
    _running()


@atexit.register
def stop() -> None:
    """End it. Its forks end with it."""
    with _lock:
        _end()


def _ask(asked: bytes, source: int, clock: float) -> tuple[dict[str, Any], Any]:
    """A fork's header and pixels; ({}, b"") when it did not come back whole. Raises DecoderMissing."""
    for _ in range(TRIES):
        server = _running()
        answered = _once(server, asked, source, clock)
        if answered is not None:
            return answered
        _drop(server)
    logger.error("The process that decodes images cannot be started: it ended with %s", server.process.returncode)
    raise DecoderMissing


def _once(server: _Server, asked: bytes, source: int, clock: float) -> tuple[dict[str, Any], Any] | None:
    """None when the process that forks is gone, or could not fork."""
    output = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(server.control, [ASKED.pack(clock)], [source, theirs.fileno(), output])
            said = _said(ours, asked, clock + LATE)
        header = _parsed(said)
        if not header and (not said.startswith(STARTED) or server.process.poll() is not None):
            return None
        return header, _pixels(output, header)
    except TimeoutError:  # its forks were to be ended long ago
        server.process.kill()
        return {}, b""
    except OSError:
        return None
    finally:
        os.close(output)


def _said(ours: socket.socket, asked: bytes, seconds: float) -> bytes:
    """What a fork says: a line, or as far as it came. Raises TimeoutError."""
    until = time.monotonic() + seconds
    said = bytearray()
    with suppress(BrokenPipeError, ConnectionResetError):  # it ended before it had read the order
        ours.settimeout(seconds)
        ours.sendall(asked)
        while not said.endswith(b"\n") and len(said) < MAX_SAID:
            ours.settimeout(max(0.01, until - time.monotonic()))
            piece = ours.recv(1 << 16)
            if not piece:
                break
            said += piece
    return bytes(said)


def _parsed(said: bytes) -> dict[str, Any]:
    try:
        header = json.loads(said[len(STARTED) :])
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}


def _pixels(output: int, header: dict[str, Any]) -> Any:
    """The bytes of the array that the header announces, which stand at the end of the output; mapped, not copied."""
    try:
        length = int(np.prod(header["shape"])) * np.dtype(header["dtype"]).itemsize
    except (KeyError, TypeError, ValueError):
        return b""
    fcntl.fcntl(output, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # reading what was cut off would end this process
    size = os.fstat(output).st_size
    if not 0 < length <= size:
        return b""
    return memoryview(mmap.mmap(output, size, access=mmap.ACCESS_READ))[size - length :]


def _running() -> _Server:
    """The process that waits, started if need be. Raises DecoderMissing."""
    global _server
    with _lock:
        if _server is not None and _server.process.poll() is None:
            return _server
        _end()
        try:
            _server = _Server(*started(COMMAND, **LARGE_PAGES))
        except OSError as error:
            logger.error("The process that decodes images cannot be started: %s", error)
            raise DecoderMissing from None
        return _server


def _drop(server: _Server) -> None:
    """End this one, if no other has taken its place."""
    with _lock:
        if _server is server:
            _end()


def _end() -> None:
    """Close the socket of the process that waits, by which it ends. The lock is held."""
    global _server
    server, _server = _server, None
    if server is None:
        return
    server.control.close()
    try:
        server.process.wait(1)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


def _forget() -> None:
    """In a fork of this process, which needs a process of its own."""
    global _server, _lock, _turns
    server, _server = _server, None
    _lock, _turns = threading.Lock(), threading.BoundedSemaphore(AT_ONCE)
    if server is not None:
        server.control.close()
        server.process.returncode = 0  # it is no child of the fork


os.register_at_fork(after_in_child=_forget)
