"""Zips that are put together while they are sent: no second copy on the disk, no more than a piece in memory."""

import io
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from registry import store

PIECE = 2**20
Member = tuple[str, bytes | Path]


class Pipe(io.RawIOBase):
    """What a zip is written into: bytes come out as soon as they are there."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        written, self._written = b"".join(self._written), []
        return written


def stream(members: Iterable[Member]) -> Iterator[bytes]:
    """The bytes of a zip of these members (name in the zip, content or the file that holds it), none of them packed:
    images are packed already. A file that has gone since is left out."""
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as out:
        for name, content in members:
            if isinstance(content, bytes):
                out.writestr(_info(name), content)
                yield pipe.take()
            else:
                yield from _copied(out, name, content, pipe)
    yield pipe.take()


def _copied(out: zipfile.ZipFile, name: str, path: Path, pipe: Pipe) -> Iterator[bytes]:
    try:
        file = store.fetch(path).open("rb")
    except FileNotFoundError:
        return
    with file, out.open(_info(name), "w", force_zip64=path.stat().st_size > 2**31 - 1) as entry:
        while piece := file.read(PIECE):
            entry.write(piece)
            yield pipe.take()


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, time.localtime()[:6])
    info.external_attr = 0o644 << 16
    return info
