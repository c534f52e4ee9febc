"""Model files on disk: written whole or not at all, and checked before use.

Knows nothing of torch or the database; the web process imports it.
"""

import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20
# Errors of a network share that is away for a while.
OUT_OF_REACH = frozenset(
    [
        *(errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN),
        *(errno.ENETUNREACH, errno.ESHUTDOWN, errno.ENODEV, errno.ENXIO, errno.EACCES, errno.EPERM, errno.EIO),
    ]
)
_MEMO_LIMIT = 20_000

_listeners: list[Callable[[Path], object]] = []
_memo: dict[tuple[str, int, int, int, int], str] = {}
_memo_lock = threading.Lock()


class ModelFileMissing(Exception):
    """The file of a model is not there."""


class ModelFileDamaged(Exception):
    """The file of a model is there, but its content is not what was written."""


class StoreUnreachable(Exception):
    """The storage did not answer or is not there now; nothing is known about whether a file exists on it."""


def disk_is_full(error: BaseException) -> bool:
    """Whether an error means that there is no room left; also those of libraries that carry the system's number."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def short_of_room(error: BaseException) -> bool:
    """Whether an error means that this machine has no memory or no file handle left, which damages no file."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def verify(path: Path, sha256: str) -> None:
    """Hold the file at `path` to its recorded sha256.

    An unchanged file (same inode, size and times) is read once per process.
    Raises ModelFileMissing, ModelFileDamaged, and StoreUnreachable where a network share is away.
    """
    try:
        found = digest(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ModelFileMissing(
            f"The model file {path.name} is missing. Restore it from a backup, or use another version of the model."
        ) from None
    except OSError as error:
        if short_of_room(error):
            raise
        if error.errno in OUT_OF_REACH:
            raise StoreUnreachable(f"The model file {path.name} is out of reach ({error.strerror}).") from error
        raise ModelFileDamaged(
            f"The model file {path.name} cannot be read ({error.strerror}). "
            "Check the disk, or use another version of the model."
        ) from error
    if found != sha256:
        raise ModelFileDamaged(
            f"The model file {path.name} is not what was saved (its sha256 starts with "
            f"{found[:12]}, recorded is {sha256[:12]}). Restore it from a backup, "
            "or use another version of the model."
        )


def digest(path: Path) -> str:
    """sha256 of a file's content as 64 hex digits, remembered while the file is unchanged."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        key = (
            str(path),
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        with _memo_lock:
            known = _memo.get(key)
        if known is not None:
            return known
        sha = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
    with _memo_lock:
        if len(_memo) >= _MEMO_LIMIT:
            _memo.clear()
        _memo[key] = sha.hexdigest()
    return sha.hexdigest()


def on_written(listener: Callable[[Path], object]) -> None:
    """Call `listener` with every file that is written from now on; what it raises reaches the writer."""
    _listeners.append(listener)


def write_atomically(
    path: Path, write: Callable[[BinaryIO], object], announce: bool = True, durable: bool = True
) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place.

    Callbacks of `on_written` are called, unless `announce` is off. What can be
    made again need not be `durable`: it is whole or not there for every process, but
    a power cut may take it.

    On any failure the temporary file is removed and an older file at `path` stays
    as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)
    for listener in _listeners if announce else ():
        listener(path)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
