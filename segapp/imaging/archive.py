"""A zip from outside, opened without trusting what it says about itself. Knows nothing of what is in it."""

import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from segapp.imaging.formats import PASSED_OVER
from segapp.imaging.invalid_file import InvalidFile

MAX_RATIO, SMALL = 200, 10**6  # unpacked to packed, of members over SMALL bytes; images are packed, bombs are not
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
LAST_RECORD, LAST_SIGNATURE, MAX_COMMENT_LENGTH = struct.Struct("<4s4H2LH"), b"PK\x05\x06", 1 << 16
PIECE = 2**20
UTF8_FLAG, UNICODE_PATH = 0x800, 0x7075


@dataclass(frozen=True)
class Limits:
    """files: members; bytes: unpacked, all together; listed: bytes of the list of members, of which more take long."""

    files: int
    bytes: int
    listed: int = 10**6


def opened(file: IO[bytes], name: str, limits: Limits) -> zipfile.ZipFile:
    """The zip, held to the limits by what it declares.

    Raises InvalidFile for one that is damaged, too large, or reaches out of its folder.
    """
    _hold_list_to_limit(file, name, limits)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, UnicodeError):
        raise InvalidFile(name, "This is not a zip, or it is damaged.", "Pack it again.") from None
    _hold_to_limits(archive.infolist(), name, limits)
    return archive


def content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int, name: str) -> bytes:
    """The member's bytes. Raises InvalidFile."""
    return b"".join(pieces(archive, info, left, name))


def pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int, name: str) -> Iterator[bytes]:
    """The member's bytes, counted while they come: what a zip declares need not be true. Raises InvalidFile."""
    if info.flag_bits & 1 or info.compress_type not in METHODS:
        problem = f"“{path_of(info).name}” in it is locked or packed unusually."
        raise InvalidFile(name, problem, "Pack it again, plainly.")
    most = min(left, info.file_size)
    try:
        with archive.open(info) as member:
            while piece := member.read(min(PIECE, most + 1)):
                most -= len(piece)
                if most < 0:
                    raise InvalidFile(name, "It unpacks to more than it says.", "Pack it again with another program.")
                yield piece
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError, zlib.error):
        raise InvalidFile(name, f"“{path_of(info).name}” in it cannot be unpacked.", "Pack it again.") from None


def path_of(info: zipfile.ZipInfo) -> PurePosixPath:
    """The member's path as people know it: UTF-8 though the zip does not say so, composed accents."""
    return PurePosixPath(unicodedata.normalize("NFC", _decoded(info)).replace("\\", "/"))


def is_hidden(info: zipfile.ZipInfo) -> bool:
    """Folders, and what systems leave beside files."""
    parts = path_of(info).parts
    if info.is_dir() or any(part.startswith((".", "__MACOSX", "~$")) for part in parts):
        return True
    return bool(parts) and parts[-1].lower() in PASSED_OVER


def _decoded(info: zipfile.ZipInfo) -> str:
    """The name: as the flag says, as Info-ZIP's extra field says, as UTF-8 where it is, else in CP437."""
    if info.flag_bits & UTF8_FLAG:
        return info.filename
    try:
        raw = info.orig_filename.encode("cp437")
    except UnicodeEncodeError:  # zipfile has already decoded it otherwise
        return info.filename
    if (name := _unicode_path(info.extra, raw)) is not None:
        return name
    try:
        return raw.split(b"\0")[0].decode("utf-8")
    except UnicodeDecodeError:
        return info.filename


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """What the extra field 0x7075 gives, where it belongs to this name."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + length]
        if kind == UNICODE_PATH and len(field) > 5 and struct.unpack_from("<L", field, 1)[0] == zlib.crc32(raw):
            return field[5:].decode("utf-8", "replace")
        at += 4 + length
    return None


def _hold_list_to_limit(file: IO[bytes], name: str, limits: Limits) -> None:
    """Refuse by the size of the member list before anything reads it: a million empty members fit into few bytes."""
    size = file.seek(0, 2)
    file.seek(max(0, size - MAX_COMMENT_LENGTH - LAST_RECORD.size))
    end = file.read()
    at = end.rfind(LAST_SIGNATURE)
    file.seek(0)
    if at < 0 or len(end) - at < LAST_RECORD.size:
        raise InvalidFile(name, "This is not a zip, or it is damaged.", "Pack it again.")
    listed = LAST_RECORD.unpack_from(end, at)[5]
    if listed > limits.listed:
        raise InvalidFile(name, "It holds far too many files.", f"At most {limits.files} are taken from one zip.")


def _hold_to_limits(members: list[zipfile.ZipInfo], name: str, limits: Limits) -> None:
    """Refuse by what the zip declares, before anything is unpacked."""
    for info in members:
        path = path_of(info)
        if path.is_absolute() or ".." in path.parts or ":" in info.filename[:3] or "\0" in info.orig_filename:
            raise InvalidFile(name, "It holds a file that reaches out of its folder.", "Pack plain folders only.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InvalidFile(name, "It holds a link to another place.", "Pack the images themselves.")
        if info.file_size > SMALL and info.file_size > MAX_RATIO * max(1, info.compress_size):
            raise InvalidFile(name, "It unpacks to far more than it weighs.", "Pack the images themselves.")
    if len(members) > limits.files:
        raise InvalidFile(name, f"It holds {len(members)} files.", f"At most {limits.files} are taken from one zip.")
    total = sum(info.file_size for info in members)
    if total > limits.bytes:
        limit = f"The limit is {limits.bytes // 10**6} MB; send it in parts."
        raise InvalidFile(name, f"It unpacks to {total // 10**6} MB.", limit)
