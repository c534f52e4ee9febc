"""Reading files that Pillow does not read, in a process of its own that may not use more than its share.

Such readers are large, and the file is untrusted: whatever it does to the process that reads it, it ends that
process only, within limits of memory, processor time and patience, with nothing written.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any

import numpy as np

from segapp.confine import ROOT, ResourceLimits, environment
from segapp.imaging.image_input import ImageInput, Layout
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.memory import DecodersBusy

LIMITS = ResourceLimits(memory=4 << 30, processor=60, clock=60, files=32)
AT_ONCE = 2  # children of one process; the others wait
PATIENCE = 20.0  # seconds that a file waits for its turn
PIECE = 1 << 20
UNREADABLE = (
    "It could not be read: it is damaged, or needs more memory or time than it may have.",
    "Save it again, uncompressed or as PNG, and add that file.",
)

_turns = threading.BoundedSemaphore(AT_ONCE)


class NeedsWindows(Exception):
    """The image has more pixels than are read at once. `windows`: but its file can be read in parts."""

    def __init__(self, width: int, height: int, windows: bool) -> None:
        super().__init__(f"{width} x {height}")
        self.width, self.height, self.windows = width, height, windows


@dataclass(frozen=True)
class Answer:
    """values and what the child says of them, as in readers/picked.py."""

    values: np.ndarray
    layout: Layout
    turn: int
    notes: tuple[str, ...]
    deep: bool
    kind: str
    lossy: bool
    palette: tuple[str, ...] | None
    geo: dict[str, Any]
    size: dict[str, Any]
    as_stored: bool


def read(
    reader: str,
    what: str,
    file: IO[bytes],
    name: str,
    choice: ImageInput,
    most: int,
    limits: ResourceLimits | None = None,
) -> Answer:
    """What readers/read.py makes of the file, read by a confined process.

    Raises InvalidFile, NeedsWindows for an image of more than `most` pixels, and DecodersBusy.
    """
    limits = limits or LIMITS
    order = {
        "reader": reader,
        "what": what,
        "name": name,
        "choice": choice.to_dict(),
        "most": most,
        "limits": asdict(limits),
    }
    if not _turns.acquire(timeout=PATIENCE):
        raise DecodersBusy
    try:
        with descriptor(file) as source:
            header, body = _run(json.dumps(order), source, limits.clock)
    finally:
        _turns.release()
    return understood(header, body, name)


def understood(header: dict[str, Any], body: Any, name: str) -> Answer:
    """What a confined process says of a file, with the values from its bytes: any, for a file may have taken it over.

    Raises InvalidFile and NeedsWindows.
    """
    if "shape" not in header and not header.keys() & {"refused", "large", "damaged"}:
        raise InvalidFile(name, *UNREADABLE)
    try:
        if "refused" in header:
            problem, advice = header["refused"]
            raise InvalidFile(name, str(problem), str(advice))
        if "large" in header:
            width, height, windows = header["large"]
            raise NeedsWindows(int(width), int(height), bool(windows))
        return Answer(
            values=np.frombuffer(body, np.dtype(header["dtype"])).reshape(header["shape"]),
            layout=Layout(int(header["pages"]), int(header["channels"])),
            turn=int(header["turn"]),
            notes=tuple(str(note) for note in header["notes"]),
            deep=bool(header["deep"]),
            kind=str(header["kind"]),
            lossy=bool(header["lossy"]),
            palette=None if header["palette"] is None else tuple(str(color) for color in header["palette"]),
            geo=dict(header["geo"]),
            size=dict(header["size"]),
            as_stored=bool(header["as_stored"]),
        )
    except (KeyError, TypeError, ValueError):
        raise InvalidFile(name, "This file is cut off or damaged.", "Export or download it again.") from None


def _run(order: str, source: int, clock: float) -> tuple[dict[str, Any], bytes]:
    """The child's header and bytes; ({}, b"") when it did not come back whole."""
    child = subprocess.Popen(
        [sys.executable, "-m", "segapp.imaging.readers.child", order],
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment(),
    )
    try:
        out, _ = child.communicate(timeout=clock)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return {}, b""
    line, _, body = out.partition(b"\n")
    try:
        header = json.loads(line) if child.returncode == 0 else {}
    except ValueError:
        return {}, b""
    return (header if isinstance(header, dict) else {}), body


@contextmanager
def descriptor(file: IO[bytes]) -> Iterator[int]:
    """A descriptor to read the whole file by, with a position of its own; of a copy in memory where it has none."""
    try:
        own = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, AttributeError):
        own = os.memfd_create("upload")
        with open(own, "wb", closefd=False) as copy:
            file.seek(0)
            while piece := file.read(PIECE):
                copy.write(piece)
            file.seek(0)
    try:
        yield own
    finally:
        os.close(own)
