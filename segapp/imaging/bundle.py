"""A zip of pictures and masks, opened without trusting what it says about itself."""

import stat
import struct
import zipfile
import zlib
from collections import defaultdict
from pathlib import PurePosixPath
from typing import IO

from segapp.imaging.refused import Refused

MOST_FILES = 220
MOST_BYTES = 200 * 10**6  # unpacked, all files together: what one post may hold
MOST_RATIO, SMALL = 200, 10**6  # unpacked to packed, of members over SMALL bytes; pictures are packed, bombs are not
MOST_LISTED = 10**6  # bytes of the list of members: more would take long to read
PICTURES = {".png", ".jpg", ".jpeg", ".webp"}
MASK_FOLDERS = {"mask", "masks", "label", "labels", "annotations", "gt", "groundtruth", "ground_truth"}
MASK_FOLDERS |= {"segmentation", "segmentations", "segmentationclass", "labelids"}
MASK_ENDINGS = ("_mask", "-mask", "_masks", "_label", "-label", "_labels", "_gt", "-gt", "_seg")
IMAGE_FOLDERS = {
    "image",
    "images",
    "img",
    "imgs",
    "photo",
    "photos",
    "picture",
    "pictures",
    "jpegimages",
    "leftimg8bit",
}
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
LAST_RECORD, LAST_SIGNATURE, LONGEST_COMMENT = struct.Struct("<4s4H2LH"), b"PK\x05\x06", 1 << 16


def read_zip(file: IO[bytes], name: str) -> list[tuple[str, str, bytes]]:
    """(kind "image" or "mask", file name, content) of each picture in the zip, by the folder it lies in.

    Raises Refused for a zip that is damaged or locked, reaches out of its folder, is too large, or holds no masks.
    """
    _hold_list_to_limit(file, name)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, UnicodeError):
        raise Refused(name, "This is no zip, or it is damaged.", "Pack it again.") from None
    with archive:
        _hold_to_limits(archive.infolist(), name)
        members = [info for info in archive.infolist() if _is_picture(info)]
        masks = _masks(members)
        if not masks or len(masks) == len(members):
            problem = "It holds no folder of masks." if not masks else "It holds masks only."
            raise Refused(name, problem, "Put pictures into images/ and masks of the same names into masks/.")
        found, left = [], MOST_BYTES
        for info in members:
            content = _content(archive, info, left, name)
            left -= len(content)
            kind = "mask" if info.filename in masks else "image"
            found.append((kind, _path(info).name, content))
    return found


def _hold_list_to_limit(file: IO[bytes], name: str) -> None:
    """Refuse by the size of the member list before anything reads it: a million empty members fit into few bytes."""
    size = file.seek(0, 2)
    file.seek(max(0, size - LONGEST_COMMENT - LAST_RECORD.size))
    end = file.read()
    at = end.rfind(LAST_SIGNATURE)
    file.seek(0)
    if at < 0 or len(end) - at < LAST_RECORD.size:
        raise Refused(name, "This is no zip, or it is damaged.", "Pack it again.")
    listed = LAST_RECORD.unpack_from(end, at)[5]
    if listed > MOST_LISTED:
        raise Refused(name, "It holds far too many files.", f"At most {MOST_FILES} are taken from one zip.")


def _hold_to_limits(members: list[zipfile.ZipInfo], name: str) -> None:
    """Refuse by what the zip declares, before anything is unpacked."""
    for info in members:
        path = _path(info)
        if path.is_absolute() or ".." in path.parts or ":" in info.filename[:3] or "\0" in info.orig_filename:
            raise Refused(name, "It holds a file that reaches out of its folder.", "Pack plain folders only.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise Refused(name, "It holds a link to another place.", "Pack the pictures themselves.")
        if info.file_size > SMALL and info.file_size > MOST_RATIO * max(1, info.compress_size):
            raise Refused(name, "It unpacks to far more than it weighs.", "Pack the pictures themselves.")
    if len(members) > MOST_FILES:
        raise Refused(name, f"It holds {len(members)} files.", f"At most {MOST_FILES} are taken from one zip.")
    total = sum(info.file_size for info in members)
    if total > MOST_BYTES:
        limit = f"The limit is {MOST_BYTES // 10**6} MB; send it in parts."
        raise Refused(name, f"It unpacks to {total // 10**6} MB.", limit)


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int, name: str) -> bytes:
    """The member's bytes, counted while they come: what a zip declares need not be true."""
    if info.flag_bits & 1 or info.compress_type not in METHODS:
        raise Refused(name, f"“{_path(info).name}” in it is locked or packed unusually.", "Pack it again, plainly.")
    most = min(left, info.file_size)
    try:
        with archive.open(info) as member:
            content = member.read(most + 1)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError, zlib.error):
        raise Refused(name, f"“{_path(info).name}” in it cannot be unpacked.", "Pack it again.") from None
    if len(content) > most:
        raise Refused(name, "It unpacks to more than it says.", "Pack it again with another program.")
    return content


def _path(info: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(info.filename.replace("\\", "/"))


def _is_picture(info: zipfile.ZipInfo) -> bool:
    path = _path(info)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not info.is_dir() and not hidden and path.suffix.lower() in PICTURES


def _masks(members: list[zipfile.ZipInfo]) -> set[str]:
    """The names of the members that are masks: by their folder, else by their ending, else the PNG beside a photo."""
    by_folder = {info.filename for info in members if _lies_among_masks(_path(info))}
    if by_folder:
        return by_folder
    by_ending = {info.filename for info in members if _path(info).stem.lower().endswith(MASK_ENDINGS)}
    if by_ending:
        return by_ending
    beside: dict[str, list[zipfile.ZipInfo]] = defaultdict(list)
    for info in members:
        beside[str(_path(info).with_suffix(""))].append(info)
    photos = {stem for stem, same in beside.items() if len({_path(info).suffix.lower() for info in same}) == 2}
    return {i.filename for stem in photos for i in beside[stem] if _path(i).suffix.lower() == ".png"}


def _lies_among_masks(path: PurePosixPath) -> bool:
    """Whether the innermost folder with a telling name is one for masks."""
    telling = (part.lower() for part in reversed(path.parts[:-1]) if part.lower() in MASK_FOLDERS | IMAGE_FOLDERS)
    return next(telling, "") in MASK_FOLDERS
