"""A zip of images and masks, and which of its files are the masks."""

import zipfile
from collections import defaultdict
from pathlib import PurePosixPath
from typing import IO

from segapp.imaging import archive as safe
from segapp.imaging.archive import path_of
from segapp.imaging.formats import IMAGE_FOLDERS, MASK_ENDINGS, MASK_FOLDERS, MAX_POST_BYTES, MAX_ZIP_FILES, is_image
from segapp.imaging.invalid_file import InvalidFile

MAX_LISTED = 10**6  # bytes of the list of members: more would take long to read


def read_zip(file: IO[bytes], name: str) -> list[tuple[str, str, bytes]]:
    """(kind "image" or "mask", file name, content) of each image in the zip, by the folder it lies in.

    Raises InvalidFile for a zip that is damaged or locked, reaches out of its folder, is too large, or holds no masks.
    """
    with safe.opened(file, name, safe.Limits(MAX_ZIP_FILES, MAX_POST_BYTES, MAX_LISTED)) as archive:
        members = [info for info in archive.infolist() if _is_image(info)]
        masks = _masks(members)
        if not masks or len(masks) == len(members):
            problem = "It holds no folder of masks." if not masks else "It holds masks only."
            raise InvalidFile(name, problem, "Put images into images/ and masks of the same names into masks/.")
        found, left = [], MAX_POST_BYTES
        for info in members:
            content = safe.content(archive, info, left, name)
            left -= len(content)
            kind = "mask" if info.filename in masks else "image"
            found.append((kind, path_of(info).name, content))
    return found


def _is_image(info: zipfile.ZipInfo) -> bool:
    return not safe.is_hidden(info) and is_image(path_of(info))


def _masks(members: list[zipfile.ZipInfo]) -> set[str]:
    """The names of the members that are masks: by their folder, else by their ending, else the PNG beside a photo."""
    by_folder = {info.filename for info in members if _lies_among_masks(path_of(info))}
    if by_folder:
        return by_folder
    by_ending = {info.filename for info in members if path_of(info).stem.lower().endswith(MASK_ENDINGS)}
    if by_ending:
        return by_ending
    beside: dict[str, list[zipfile.ZipInfo]] = defaultdict(list)
    for info in members:
        beside[str(path_of(info).with_suffix(""))].append(info)
    photos = {stem for stem, same in beside.items() if len({path_of(info).suffix.lower() for info in same}) == 2}
    return {i.filename for stem in photos for i in beside[stem] if path_of(i).suffix.lower() == ".png"}


def _lies_among_masks(path: PurePosixPath) -> bool:
    """Whether the innermost folder with a telling name is one for masks."""
    telling = (part.lower() for part in reversed(path.parts[:-1]) if part.lower() in MASK_FOLDERS | IMAGE_FOLDERS)
    return next(telling, "") in MASK_FOLDERS
