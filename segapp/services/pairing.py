"""Which mask belongs to which image: by file stem, never by order."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any, Protocol, TypeVar

from segapp.imaging.formats import IMAGE_SUFFIXES, MASK_ENDINGS
from segapp.services.errors import InvalidUpload

# Accepted behind the image's stem on a mask, when no mask has the bare stem.
ADDITIONS = (*MASK_ENDINGS, *sorted(IMAGE_SUFFIXES))
MAX_STEM_LENGTH, MAX_SHOWN_LENGTH = 200, 120


class Named(Protocol):
    @property
    def name(self) -> Any: ...


File = TypeVar("File", bound=Named)


def shown(name: Any) -> str:
    """A file's name for people: no folders, nothing invisible, not too long. Never a path."""
    bare = PurePosixPath(str(name).replace("\\", "/")).name
    visible = unicodedata.normalize("NFC", "".join(letter for letter in bare if letter.isprintable()))
    if len(visible) > MAX_SHOWN_LENGTH:
        visible = f"{visible[: MAX_SHOWN_LENGTH - 20]}…{visible[-19:]}"
    return visible or "unnamed"


def stem_of(name: Any) -> str:
    """The file's stem as the row keeps it."""
    return _stem(name)[:MAX_STEM_LENGTH]


def fold(stem: str) -> str:
    """What two stems share that differ by letter case or Unicode form only."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold())


def pair(images: Iterable[File], masks: Iterable[File]) -> list[tuple[str, File, File]]:
    """(stem, image, mask) of each pair, by stem. Raises InvalidUpload, listing files without a partner or with two."""
    by_stem, problems = _by_stem(images, "images")
    drawn, more = _by_stem(masks, "masks")
    drawn = {partner or key: drawn[key] for key, partner in _partners(drawn, by_stem).items()}
    problems += more
    for key in sorted(by_stem.keys() - drawn.keys()):
        message = "This image has no mask. Add a mask with the same name, or remove the image."
        problems.append({"file": shown(by_stem[key].name), "message": message})
    for key in sorted(drawn.keys() - by_stem.keys()):
        message = "This mask has no image. Add the image with the same name, or remove the mask."
        problems.append({"file": shown(drawn[key].name), "message": message})
    if problems:
        raise InvalidUpload(problems)
    return [(stem_of(by_stem[key].name), by_stem[key], drawn[key]) for key in sorted(by_stem)]


def unique(files: Iterable[File]) -> list[File]:
    """Images without masks, sorted by stem. Raises InvalidUpload that lists those who share their stem with another."""
    images, problems = _by_stem(files, "images")
    if problems:
        raise InvalidUpload(problems)
    return [images[key] for key in sorted(images)]


def _stem(name: Any) -> str:
    bare = PurePosixPath(str(name).replace("\\", "/")).name
    stem, dot, ending = bare.rpartition(".")
    # Only what looks like an ending is one: scan.0001 and scan.0002 are two stems.
    stem = stem if dot and stem and ending.isalpha() else bare
    visible = "".join(letter for letter in stem if letter.isprintable())
    return unicodedata.normalize("NFC", visible) or "unnamed"


def _by_stem(files: Iterable[File], what: str) -> tuple[dict[str, File], list[dict[str, str]]]:
    """Files by folded stem, and an entry for each that shares its stem with another."""
    groups: dict[str, list[File]] = defaultdict(list)
    for file in files:
        groups[fold(_stem(file.name))].append(file)
    problems = []
    for same in groups.values():
        for file in same[1:]:
            message = f"Another of the {what} has the same name, up to capitals and the ending: {shown(same[0].name)}."
            problems.append({"file": shown(file.name), "message": f"{message} Rename or remove one of them."})
    return {key: same[0] for key, same in groups.items()}, problems


def _partners(drawn: dict[str, File], images: dict[str, File]) -> dict[str, str]:
    """Mask key -> the key of the image that its stem names with an addition; "" for none or more than one mask."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for key in drawn:
        bare = next((key.removesuffix(end) for end in ADDITIONS if key.endswith(end)), key)
        if key not in images and bare in images and bare not in drawn:
            wanted[bare].append(key)
    taken = {keys[0]: bare for bare, keys in wanted.items() if len(keys) == 1}
    return {key: taken.get(key, "") for key in drawn}
