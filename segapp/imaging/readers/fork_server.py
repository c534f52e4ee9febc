"""A process that forks itself for every file: `python -m segapp.imaging.readers.fork_server < CONTROL_SOCKET`.

It has imported what reading takes, so a fork costs a few milliseconds where a new process costs a second; one fork is
always there before it is needed. A fork takes one file, as descriptors, from the socket it shares with this process,
limits itself, reads the file and ends. It can open nothing: what it needs is imported before. This process looks at no
file; it ends forks that take too long. It has one thread and knows nothing of Django.
"""

import gc
import io
import json
import math
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from segapp.confine import ResourceLimits, confine, forbid_paths
from segapp.imaging.forked import ASKED, AT_ONCE, STARTED
from segapp.imaging.readers import pillow, read  # noqa: F401  (pillow before the first fork)
from segapp.supervisor import die_with_parent

TAKEN = struct.Struct("id")  # what a fork tells: its process id, and for how long it may work
REHEARSED = (("RGB", "JPEG"), ("RGB", "PNG"))
AGAIN = 0.5  # seconds after which forking is tried again where the system refused it


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks; this one ends when it is gone
    control = socket.socket(fileno=0)
    files = prepare()
    gc.collect()
    gc.freeze()  # a collection would copy the pages that a fork shares with this process
    gc.disable()
    serve(control, files)


def prepare() -> list[bytes]:
    """Have everything imported that Pillow, numpy and Python import when they are first asked for something.

    Two small files, for forks to rehearse on.
    """
    Image.init()
    for codec in ("ascii", "latin-1", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252"):
        "".encode(codec)
    files = []
    for mode, format in (*REHEARSED, ("P", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("I;16", "PNG")):
        file = io.BytesIO()
        Image.new(mode, (8, 8)).save(file, format)
        files.append(file.getvalue())
        for what in ("image", "mask", "values", "original"):
            rehearse(files[-1], what)
    return files[: len(REHEARSED)]


def rehearse(content: bytes, what: str = "image") -> None:
    read.answer({"reader": "pillow", "what": what, "name": "", "choice": {}, "most": 64}, io.BytesIO(content))


def serve(control: socket.socket, files: list[bytes]) -> None:
    """Keep a fork ready until the other end of `control` is closed; end the forks that are at work for too long."""
    woken, waker = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    taken, telling = os.pipe()
    waiting = select.poll()
    waiting.register(control, 0)  # its end alone: messages are for the forks
    waiting.register(taken, select.POLLIN)
    waiting.register(woken, select.POLLIN)
    own, mapped = os.getpid(), mapped_bytes()
    ready = 0  # the process id of the fork that waits for a file; 0 for none
    working: dict[int, float] = {}  # those of the others, and when they are ended
    while True:
        if not ready and len(working) < AT_ONCE:
            with suppress(OSError):  # no room for another process now
                ready = os.fork()
                if ready == 0:
                    read_one(own, (woken, waker, taken), control, telling, mapped, files)
        ends = [until - time.monotonic() for until in working.values()]
        ends += [AGAIN] if not ready else []
        events = dict(waiting.poll(max(0.0, min(ends)) * 1000 + 1 if ends else None))
        if control.fileno() in events:
            return  # forks die with this process
        if taken in events:
            fork, seconds = TAKEN.unpack(os.read(taken, TAKEN.size))
            if fork == ready:  # else it has ended already
                working[fork], ready = time.monotonic() + seconds, 0
        if woken in events:
            os.read(woken, 4096)
        for fork in [ready, *working] if ready else list(working):
            if os.waitpid(fork, os.WNOHANG)[0]:
                working.pop(fork, None)
                ready = 0 if fork == ready else ready
            elif time.monotonic() > working.get(fork, math.inf):
                os.kill(fork, signal.SIGKILL)


def mapped_bytes() -> int:
    """The address space of this process."""
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def read_one(
    parent: int, others: Iterable[int], control: socket.socket, telling: int, mapped: int, files: list[bytes]
) -> NoReturn:
    """In a fork: wait for a file, limit this process to `mapped` bytes and what the order allows, read, answer, end.

    `others`: descriptors that are not for this process.
    """
    status = 1
    try:
        die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        for descriptor in others:
            os.close(descriptor)
        for content in files:  # what is copied when a fork first writes to it is copied before it is needed
            rehearse(content)
        forbid_paths()
        message, descriptors, _, _ = socket.recv_fds(control, ASKED.size, 3)
        if not message:
            os._exit(0)
        os.write(telling, TAKEN.pack(os.getpid(), *ASKED.unpack(message)))
        os.close(telling)
        control.close()
        source, answering, output = descriptors
        answer = socket.socket(fileno=answering)
        answer.sendall(STARTED)
        with answer.makefile("rb") as asked:
            order = json.loads(asked.readline())
        limits = ResourceLimits(**order["limits"])
        confine(replace(limits, memory=mapped + limits.memory))
        with open(source, "rb") as file:
            header, values = read.answer(order, file)
        if values is not None:
            write(values, output)
        answer.sendall(json.dumps(header).encode() + b"\n")
        status = 0
    finally:
        os._exit(status)


def write(values: Any, output: int) -> None:
    """An array, or the rows of an RGB image of Pillow, at the end of the output."""
    with open(output, "wb") as out:
        if isinstance(values, np.ndarray):
            out.write(np.ascontiguousarray(values).data.cast("B"))
        else:
            values.save(out, "PPM")  # a short head and the pixels, written without a copy


if __name__ == "__main__":
    main()
