"""What a watched folder's files have come to: one line of JSON for each step, only ever added to.

A line counts when it is whole, so a process that dies in the middle of one leaves no half entry. Knows nothing of
images and networks.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from segapp.imaging.formats import is_video
from segapp.services.naming import result_stems
from segapp.worker.arrivals import Arrival, Identity

BEGUN, LEFT, DONE, FAILED = "begun", "left", "done", "failed"


class WatchedAlready(Exception):
    """Another process writes into the same folder."""


class DamagedJournal(ValueError):
    """The journal was changed by something else than this program."""


class Journal:
    """The file `journal.jsonl` in a folder, which this process alone holds until it ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "journal.jsonl"
        self._lock: IO[str] = open(folder / "lock", "w")  # noqa: SIM115 (held until the process ends)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise WatchedAlready(f"{folder.parent} is written by another watch already. Stop it first.") from None
        self._known: dict[str, tuple[Identity, str]] = {}  # done, or failed and still there
        self._begun: dict[tuple[str, Identity], int] = {}
        self._stems: dict[str, str] = {}  # file -> its results' stem
        self._taken: dict[str, str] = {}  # stem as file systems tell it apart -> file
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, self._whole())
        for line in self.lines():
            self._take(line)

    def close(self) -> None:
        if not self._lock.closed:
            os.close(self._file)
            self._lock.close()

    def is_new(self, name: str, identity: Identity) -> bool:
        return name not in self._known or self._known[name][0] != identity

    def is_done(self, name: str, identity: Identity | None = None) -> bool:
        """Whether the file has results; of this very content where one is named."""
        known, step = self._known.get(name, (None, ""))
        return step == DONE and identity in (None, known)

    def attempts(self, arrival: Arrival) -> int:
        """How often work on this content was begun and came to no end."""
        return self._begun.get((arrival.name, arrival.identity), 0)

    def stem(self, name: str) -> str:
        """The results' path for a file, without ending: its own, unless another file has it. Always the same."""
        if name not in self._stems:
            folder, _, own = name.rpartition("/")
            plain = printable(own)
            (stem,) = result_stems([f"{Path(plain).stem}.png" if is_video(plain) else plain])
            kind = own.rpartition(".")[2].lower()
            tried = [stem, f"{stem}_{kind}", *(f"{stem}_{kind}_{number}" for number in range(2, 10_000))]
            prefix = f"{folder}/" if folder else ""
            self._name(name, next(f"{prefix}{one}" for one in tried if f"{prefix}{one}".casefold() not in self._taken))
        return self._stems[name]

    def write(self, step: str, arrival: Arrival, **more: Any) -> None:
        """Add a line, so that it survives whatever happens next."""
        line = {
            "step": step,
            "file": arrival.name,
            "size": arrival.identity.size,
            "modified_ns": arrival.identity.modified_ns,
            "stem": self.stem(arrival.name),
            **more,
        }
        content = (json.dumps(line) + "\n").encode()
        end = os.lseek(self._file, 0, os.SEEK_END)
        written = os.write(self._file, content)
        if written < len(content):
            os.ftruncate(self._file, end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        os.fsync(self._file)
        self._take(line)

    def lines(self) -> Iterator[dict[str, Any]]:
        with open(self.path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield json.loads(line)
                except ValueError:
                    raise DamagedJournal(
                        f"{self.path}: line {number} cannot be read. Remove that line, or the whole file to have "
                        "everything segmented again."
                    ) from None

    def _take(self, line: dict[str, Any]) -> None:
        name, identity = line["file"], Identity(line["size"], line["modified_ns"])
        self._name(name, line["stem"])
        key = (name, identity)
        if line["step"] == BEGUN:
            self._begun[key] = self._begun.get(key, 0) + 1
            return
        if line["step"] == LEFT:  # ended on request: not the file's fault
            self._begun[key] = max(0, self._begun.get(key, 0) - 1)
            return
        self._begun.pop(key, None)
        if line["step"] == DONE or line.get("stays"):
            self._known[name] = (identity, line["step"])

    def _name(self, name: str, stem: str) -> None:
        self._stems[name] = stem
        self._taken[stem.casefold()] = name

    def _whole(self) -> int:
        """Bytes up to the end of the last whole line."""
        end = os.lseek(self._file, 0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            place = os.pread(self._file, end - start, start).rfind(b"\n")
            if place >= 0:
                return start + place + 1
            end = start
        return 0


def printable(name: str) -> str:
    """A file's name for people; bytes of it that are no text are shown as question marks."""
    return name.encode("utf-8", "replace").decode()
