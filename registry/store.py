"""Media on a storage that several machines share, with the local folder as each machine's working copy.

By default media is the local folder and nothing here does anything. With SEGAPP_MEDIA naming a bucket, a file that
was written is pushed there, and one that is not at hand is fetched. Files are immutable and models are held to their
sha256, so a copy is as good as the original; the few that change (previews, painted masks) are fetched when newer.
Knows nothing of models, rows or torch; the web process imports it.
"""

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from django.conf import settings
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, storages

from registry.files import StoreUnreachable, on_written, write_atomically

__all__ = [
    "StoreUnreachable",
    "exists",
    "fetch",
    "fetch_folder",
    "is_shared",
    "is_spare",
    "is_stored",
    "names_in",
    "push",
    "push_folder",
    "remove",
    "remove_folder",
    "stored_days",
]

logger = logging.getLogger(__name__)

MARK = "segapp.txt"  # tells our bucket from an empty or a wrong one, where every file would seem to be missing
DOUBT = 10.0  # seconds by which clocks may differ: a copy that may be older than the original counts as older
DECORATION = ".webp"  # previews: one that could not be pushed is logged and fails nothing


def is_shared() -> bool:
    """Whether media is on a storage of its own; else the local folder (which may itself be a shared one) is all."""
    return not isinstance(storages["default"], FileSystemStorage)


def push(path: Path) -> None:
    """Copy a file that was just written to the shared storage; those outside of media stay where they are.

    Raises StoreUnreachable, except for previews.
    """
    name = _name(path)
    if name is None:
        return
    try:
        with _answering(f"store {name}"), open(path, "rb") as file:
            _leave_mark(storages["default"])
            storages["default"].save(name, File(file))
    except StoreUnreachable as error:
        if path.suffix != DECORATION:
            raise
        logger.warning("%s", error)


def push_folder(folder: Path) -> None:
    """Push everything in a folder, for files that were not written by `write_atomically`."""
    if is_shared():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                push(path)


def fetch(path: Path, newer: bool = False) -> Path:
    """See that a file is at hand if it exists at all; with `newer`, also when the storage has a later one.

    Returns `path`. A file that exists nowhere is simply not there afterwards. Raises StoreUnreachable, and OSError
    when it cannot be written here.
    """
    here = path.exists()
    if here and not newer:
        return path
    name = _name(path)
    if name is None:
        return path
    storage = storages["default"]
    with _answering(f"fetch {name}"):
        if not storage.exists(name):
            _hold_to_mark()
        elif not here or storage.get_modified_time(name).timestamp() > path.stat().st_mtime - DOUBT:
            with storage.open(name, "rb") as stored:
                write_atomically(path, lambda out: shutil.copyfileobj(stored, out, 2**20), announce=False)
    return path


def fetch_folder(folder: Path, newer: bool = False) -> Path:
    """`fetch` every file that the storage has below a folder."""
    name = _name(folder)
    if name is not None:
        for found in _names(name):
            fetch(Path(settings.MEDIA_ROOT) / found, newer)
    return folder


def exists(path: Path) -> bool:
    """Whether a file is here or in the shared storage; asks only, fetches nothing. Raises StoreUnreachable."""
    if path.exists():
        return True
    name = _name(path)
    if name is None:
        return False
    with _answering(f"look for {name}"):
        if storages["default"].exists(name):
            return True
        _hold_to_mark()
    return False


def remove(path: Path) -> None:
    """Remove a file here and in the shared storage; one that is not there is fine."""
    path.unlink(missing_ok=True)
    name = _name(path)
    if name is not None:
        _delete(name)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, here and in the shared storage; whatever resists is left behind."""
    shutil.rmtree(folder, ignore_errors=True)
    name = _name(folder)
    if name is None:
        return
    try:
        for found in list(_names(name)):
            _delete(found)
    except StoreUnreachable as error:
        logger.warning("%s", error)


def is_stored(path: Path) -> bool:
    """Whether the shared storage has a file of this name, whatever is here. Raises StoreUnreachable."""
    name = _name(path)
    if name is None:
        return False
    with _answering(f"look for {name}"):
        return storages["default"].exists(name)


def is_spare(path: Path, days: float) -> bool:
    """Whether this machine's copy of a file is older than `days` and could be fetched again at any time."""
    return is_shared() and time.time() - path.stat().st_mtime >= days * 86400 and is_stored(path)


def names_in(folder: Path) -> list[str]:
    """What lies directly in a folder of the shared storage, files and folders; empty without one. Raises
    StoreUnreachable."""
    name = _name(folder)
    if name is None:
        return []
    with _answering(f"list {name}"):
        folders, files = storages["default"].listdir(name)
    return sorted(found for found in (*folders, *files) if found)


def stored_days(path: Path) -> float:
    """Days since the shared storage was last given this file, or one of this folder; 0 where it holds neither.

    Raises StoreUnreachable.
    """
    name = _name(path)
    if name is None:
        return 0.0
    storage = storages["default"]
    files = list(_names(name)) or [name]
    with _answering(f"look at {name}"):
        written = [storage.get_modified_time(file).timestamp() for file in files if storage.exists(file)]
    return (time.time() - max(written)) / 86400 if written else 0.0


@cache
def _leave_mark(storage: Storage) -> None:
    if not storage.exists(MARK):
        storage.save(MARK, ContentFile(b"Segapp's media. Keep this file.\n"))


def _hold_to_mark() -> None:
    """Raise where nothing of ours is: a file is missing only in a bucket that has others."""
    if not storages["default"].exists(MARK):
        raise LookupError(f"there is no {MARK} in it, so it is empty or not the one that was used")


def _name(path: Path) -> str | None:
    """The file's name in the shared storage; None without one, and for what is not below media."""
    if not is_shared():
        return None
    try:
        return path.relative_to(settings.MEDIA_ROOT).as_posix()
    except ValueError:
        return None


def _names(folder: str) -> Iterator[str]:
    storage: Storage = storages["default"]
    with _answering(f"list {folder}"):
        folders, files = storage.listdir(folder)
    yield from (f"{folder}/{name}" for name in files if name)
    for inner in folders:
        yield from _names(f"{folder}/{inner}")


def _delete(name: str) -> None:
    """What cannot be deleted now is only room; it is logged and left to the bucket's own rules."""
    try:
        with _answering(f"delete {name}"):
            storages["default"].delete(name)
    except StoreUnreachable as error:
        logger.warning("%s", error)


@contextmanager
def _answering(what: str) -> Iterator[None]:
    """Turns whatever a storage's client raises into one error; those of this machine's disk go through."""
    try:
        yield
    except StoreUnreachable:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        words = f"The storage of files could not {what} ({type(error).__name__}: {error})."
        raise StoreUnreachable(f"{words} Check SEGAPP_MEDIA and the bucket.") from error


on_written(push)
