"""A zip of pictures and masks, opened without trusting what it says about itself."""

import io
import zipfile
from pathlib import PurePosixPath
from typing import IO

from segapp.imaging.refused import Refused

MOST_FILES = 220
MOST_BYTES = 400 * 10**6  # unpacked, all files together
MOST_RATIO = 200  # unpacked to packed; pictures are packed already, bombs are not
PICTURES = {".png", ".jpg", ".jpeg", ".webp"}
MASK_FOLDERS = {"mask", "masks", "label", "labels", "annotations", "gt", "groundtruth"}


def read_zip(file: IO[bytes], name: str) -> list[tuple[str, str, bytes]]:
    """(kind "image" or "mask", file name, content) of each picture in the zip, by the folder it lies in.

    Raises Refused for a zip that is damaged, reaches out of its folder, is too large, or holds no folder of masks.
    """
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile:
        raise Refused(name, "This is no zip, or it is damaged.", "Pack it again.") from None
    with archive:
        members = [info for info in archive.infolist() if _is_picture(info)]
        _hold_to_limits(archive, name)
        found, left = [], MOST_BYTES
        for info in members:
            content = _content(archive, info, left, name)
            left -= len(content)
            found.append((_kind(info.filename), PurePosixPath(info.filename).name, content))
    if not any(kind == "mask" for kind, _, _ in found):
        raise Refused(
            name, "It holds no folder of masks.", "Put pictures into images/ and masks of the same names into masks/."
        )
    return found


def _hold_to_limits(archive: zipfile.ZipFile, name: str) -> None:
    """Refuse by what the zip declares, before anything is unpacked."""
    for info in archive.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in info.filename[:3]:
            raise Refused(name, "It holds a file that reaches out of its folder.", "Pack plain folders only.")
        if info.file_size > 10**6 and info.file_size > MOST_RATIO * max(1, info.compress_size):
            raise Refused(name, "It unpacks to far more than it weighs.", "Pack the pictures themselves.")
    if len(archive.infolist()) > MOST_FILES:
        raise Refused(
            name, f"It holds {len(archive.infolist())} files.", f"At most {MOST_FILES} are taken from one zip."
        )
    total = sum(info.file_size for info in archive.infolist())
    if total > MOST_BYTES:
        raise Refused(
            name, f"It unpacks to {total // 10**6} MB.", f"The limit is {MOST_BYTES // 10**6} MB; send it in parts."
        )


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int, name: str) -> bytes:
    """The member's bytes, counted while they come: what a zip declares need not be true."""
    most = min(left, info.file_size)
    try:
        with archive.open(info) as member:
            content = io.BytesIO(member.read(most + 1)).getvalue()
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError):
        raise Refused(
            name, f"“{info.filename}” in it cannot be unpacked.", "Pack it again, without a password."
        ) from None
    if len(content) > most:
        raise Refused(name, "It unpacks to more than it says.", "Pack it again with another program.")
    return content


def _is_picture(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename.replace("\\", "/"))
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not info.is_dir() and not hidden and path.suffix.lower() in PICTURES


def _kind(filename: str) -> str:
    folders = PurePosixPath(filename.replace("\\", "/")).parts[:-1]
    return "mask" if any(folder.lower() in MASK_FOLDERS for folder in folders) else "image"
