"""A zip of images with masks or annotations, and which of its files are what."""

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from segapp.imaging import archive as safe
from segapp.imaging import decode
from segapp.imaging.archive import path_of
from segapp.imaging.formats import (
    ANNOTATION_SUFFIXES,
    CLASS_LISTS,
    IMAGE_LISTS,
    MASK_ENDINGS,
    MAX_POST_BYTES,
    MAX_ZIP_FILES,
    is_mask,
    kind_of_folder,
    suffix,
)
from segapp.imaging.invalid_file import InvalidFile

MAX_LISTED = 2 * 10**6  # bytes of the list of members: more would take long to read
LABELMAP = "labelmap.txt"
FLAT = 0.8  # share of pixels equal to their neighbour from which an image may be a mask
LOOKED_AT, MAX_FOLDERS = 3, 12
_NUMBER = re.compile(r"[_\-. ]*\(?\d+\)?$")
_LETTERS, _CUTS = re.compile(r"[^\W\d_]+"), re.compile(r"[_\-. ]")


@dataclass(frozen=True)
class Member:
    """A file with the folder it came from. `file` is a binary file, or a path on this machine."""

    name: str
    file: Any
    folder: str = ""
    size: int = 0


@dataclass
class Contents:
    """What a zip, or a post, holds. notes: what was passed over, in words."""

    images: list[Any] = field(default_factory=list)
    masks: list[Any] = field(default_factory=list)
    annotations: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_zip(file: IO[bytes], name: str, only: str = "") -> Contents:
    """The images, masks and annotation files in the zip, by their folders and names.

    `only`: "image" or "mask" says what all images in it are where they look alike.

    Raises InvalidFile for a zip that is damaged or locked, reaches out of its folder, is too large, or holds no masks.
    """
    contents = Contents()
    with safe.opened(file, name, safe.Limits(MAX_ZIP_FILES, MAX_POST_BYTES, MAX_LISTED)) as archive:
        members = [info for info in archive.infolist() if not safe.is_hidden(info)]
        images = [info for info in members if is_mask(path_of(info))]
        notes = [info for info in members if is_annotation(path_of(info)) or path_of(info).suffix.lower() == ".zip"]
        masks = _masks(images)
        named = [info for info in notes if path_of(info).name.lower() != LABELMAP]
        if not only and not named and (not masks or len(masks) == len(images)):
            masks = _by_look(images, lambda info: safe.content(archive, info, MAX_POST_BYTES, name)) or masks
        if only and (not masks or len(masks) == len(images)):
            masks = {info.filename for info in images} if only == "mask" else set()
        elif not notes and (not masks or len(masks) == len(images)):
            problem = "It holds no folder of masks." if not masks else "It holds masks only."
            raise InvalidFile(name, problem, "Put images into images/ and masks of the same names into masks/.")
        left, taken = MAX_POST_BYTES, set()
        for info in [*images, *notes]:
            content = safe.content(archive, info, left, name)
            left -= len(content)
            path = path_of(info)
            member = Member(path.name, io.BytesIO(content), _folder(path), len(content))
            target = contents.masks if info.filename in masks else contents.images
            (contents.annotations if info in notes else target).append(member)
            taken.add(info.filename)
        rest = [path_of(info).name for info in members if info.filename not in taken]
        other = [found for found in rest if found.lower() not in IMAGE_LISTS]
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        contents.notes.append(f"Not used from {name}: {', '.join(other[:3])}{more}.")
    return contents


def read_folder(folder: Path) -> list[Member]:
    """The files below a folder on this machine, with the folders between; what systems leave there is left out."""
    found = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in inner.parts):
            parent = "" if inner.parent == Path() else inner.parent.as_posix()
            found.append(Member(path.name, path, parent, path.stat().st_size))
    return found


def opened(file: Any) -> IO[bytes]:
    """The upload as a plain binary file, at its beginning; a path's file is read whole."""
    inner = file
    while not isinstance(inner, Path) and hasattr(inner, "file"):
        inner = inner.file
    if isinstance(inner, Path):
        return io.BytesIO(inner.read_bytes())
    inner.seek(0)
    binary: IO[bytes] = inner
    return binary


def is_annotation(path: Any) -> bool:
    """Whether the name says that the file says where objects are, or what classes there are."""
    name = PurePosixPath(str(path)).name.lower()
    if name in IMAGE_LISTS or name.endswith((".dataset.txt", ".roboflow.txt")):
        return False
    return name in CLASS_LISTS or suffix(path) in ANNOTATION_SUFFIXES


def _folder(path: PurePosixPath) -> str:
    return "" if path.parent == PurePosixPath(".") else str(path.parent)


def _masks(members: list[zipfile.ZipInfo]) -> set[str]:
    """The names of the members that are masks: by their folder, else by their ending, else the PNG beside a photo."""
    by_folder = {info.filename for info in members if _lies_among_masks(path_of(info))}
    if by_folder and len(by_folder) < len(members):
        return by_folder
    by_ending = {info.filename for info in members if _ends_like_mask(path_of(info).stem.lower())}
    if by_ending and len(by_ending) < len(members):
        return by_ending
    beside: dict[str, list[zipfile.ZipInfo]] = defaultdict(list)
    for info in members:
        beside[str(path_of(info).with_suffix(""))].append(info)
    photos = {stem for stem, same in beside.items() if len({path_of(info).suffix.lower() for info in same}) == 2}
    found = {i.filename for stem in photos for i in beside[stem] if path_of(i).suffix.lower() == ".png"}
    return found or by_folder or by_ending


def _ends_like_mask(stem: str) -> bool:
    """Whether an ending for masks, with a number or not, or a word for them is last: x_mask_1, x_gtFine_labelIds."""
    bare = _NUMBER.sub("", stem)
    words = _LETTERS.findall(bare)
    return bare.endswith(MASK_ENDINGS) or (len(words) > 1 and {"gt", "gtfine"} & set(words[:-1]) != set())


def _by_look(members: list[zipfile.ZipInfo], content: Callable[[zipfile.ZipInfo], bytes]) -> set[str]:
    """The names of the members that are masks, where names do not say so: folders, or longer names, of flat images.

    Looks at a few of each folder. Raises InvalidFile for a member that cannot be unpacked.
    """
    folders: dict[str, list[zipfile.ZipInfo]] = defaultdict(list)
    for info in members:
        folders[_folder(path_of(info))].append(info)
    if len(folders) > MAX_FOLDERS:
        return set()
    if len(folders) == 1:
        stems = {path_of(info).stem.lower() for info in members}
        longer = [info for info in members if _has_shorter(path_of(info).stem.lower(), stems)]
        flat = bool(longer) and len(longer) < len(members) and _flatness(longer, content) >= FLAT
        return {info.filename for info in longer} if flat else set()
    looks = {folder: _flatness(inside, content) for folder, inside in folders.items()}
    masks = {folder for folder, look in looks.items() if look >= FLAT}
    if len(masks) == len(looks) == 2:  # dark images with a few bright spots are flat, too, but less so
        masks = {max(looks, key=lambda folder: looks[folder])}
    return {info.filename for folder in masks for info in folders[folder]} if len(masks) < len(looks) else set()


def _has_shorter(stem: str, stems: set[str]) -> bool:
    """Whether another name is this one's beginning: 0001TP_1 of 0001TP_1_L."""
    return any(stem[: cut.start()] in stems and _LETTERS.search(stem[cut.start() :]) for cut in _CUTS.finditer(stem))


def _flatness(members: list[zipfile.ZipInfo], content: Callable[[zipfile.ZipInfo], bytes]) -> float:
    """The share of pixels that are as their neighbour, in a few of these: near 1 in masks."""
    found = []
    for info in members[:: max(1, len(members) // LOOKED_AT)][:LOOKED_AT]:
        try:
            values = decode.mask(io.BytesIO(content(info)), path_of(info).name).values
        except InvalidFile:  # of a kind that no mask has, or damaged: reported when it is read
            found.append(0.0)
            continue
        values = values[:: max(1, len(values) // 256)]
        same = values[:, 1:] == values[:, :-1]
        found.append(float((same.all(axis=2) if same.ndim == 3 else same).mean()) if same.size else 0.0)
    return sum(found) / max(1, len(found))


def _lies_among_masks(path: PurePosixPath) -> bool:
    """Whether the innermost folder with a telling name is one for masks."""
    return next(filter(None, map(kind_of_folder, reversed(path.parts[:-1]))), "") == "mask"
