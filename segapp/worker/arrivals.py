"""Files that arrive in a folder, and when one is whole. Knows nothing of what is done with them.

A file is taken when nothing about it has changed for some seconds, as this process watched it on its own clock, and
when no process of this machine has it open for writing. Times of files alone would not do: copying tools set them, and
another machine's clock may be wrong.
"""

import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segapp.imaging.formats import is_image, is_video

EMPTY_SECONDS = 60.0  # many programs make a file first and fill it later
LEASES = hasattr(fcntl, "F_SETLEASE")  # Linux
Seen = tuple[int, int, int, int]  # inode, size, time of the content, time of the inode


@dataclass(frozen=True)
class Identity:
    """What tells one content of a file from the next."""

    size: int
    modified_ns: int


@dataclass(frozen=True)
class Arrival:
    """A file by its path below the folder, with `/` between the parts."""

    path: Path
    name: str
    identity: Identity


class Arrivals:
    """Looks at a folder again and again. `left_out`: folders below it that are not looked into."""

    def __init__(
        self, folder: Path, left_out: tuple[Path, ...], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder, self.seconds = folder, seconds
        self._left_out = {path.resolve() for path in left_out}
        self._clock = clock
        self._watched: dict[str, tuple[Seen, float]] = {}
        self.unsettled = 0  # files that the last look found to be arriving still
        if LEASES:  # who opens a file for writing while it is looked at makes the kernel send this; it would end us
            signal.signal(signal.SIGIO, signal.SIG_IGN)

    def settled(self, is_new: Callable[[str, Identity], bool]) -> list[Arrival]:
        """Whole files that are new, the oldest first. One that vanishes meanwhile is left out."""
        now, found = self._clock(), []
        watched: dict[str, tuple[Seen, float]] = {}
        self.unsettled = 0
        for path in self._files():
            name = path.relative_to(self.folder).as_posix()
            try:
                status = path.stat()
            except OSError:
                continue
            identity = Identity(status.st_size, status.st_mtime_ns)
            if not is_new(name, identity):
                continue
            seen = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            before, since = self._watched.get(name, (seen, now))
            watched[name] = (seen, since if before == seen else now)
            wait = self.seconds if status.st_size else max(self.seconds, EMPTY_SECONDS)
            if now - watched[name][1] >= wait and not being_written(path):
                found.append(Arrival(path, name, identity))
            else:
                self.unsettled += 1
        self._watched = watched
        return sorted(found, key=lambda arrival: (arrival.identity.modified_ns, arrival.name))

    def _files(self) -> Iterator[Path]:
        for parent, folders, names in os.walk(self.folder):
            folders[:] = [
                name
                for name in sorted(folders)
                if not name.startswith(".") and Path(parent, name).resolve() not in self._left_out
            ]
            for name in names:
                if not name.startswith((".", "~")) and (is_image(name) or is_video(name)):
                    yield Path(parent, name)


def identity_of(path: Path) -> Identity | None:
    """None when there is no such file any more."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Identity(status.st_size, status.st_mtime_ns)


def being_written(path: Path) -> bool:
    """Whether a process of this machine has the file open for writing, as far as the system tells.

    Linux gives a read lease only on a file that no process writes to. Where there are no leases (other systems, some
    file systems, another owner's file) nothing is known, and the answer is no.
    """
    if not LEASES:
        return False
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(handle)
    return False
