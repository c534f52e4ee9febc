"""Which mask belongs to which picture: by file stem, never by order."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any, Protocol, TypeVar

SUFFIXES = ("_mask", "-mask", "_label", "-label", "_gt")  # accepted on a mask when the bare stem names a picture


class Named(Protocol):
    @property
    def name(self) -> Any: ...


File = TypeVar("File", bound=Named)


class Refusal(Exception):
    """Files that cannot be taken in: one entry {file, message} for each. Nothing was stored."""

    def __init__(self, problems: list[dict[str, str]]) -> None:
        super().__init__(" ".join(f"{problem['file']}: {problem['message']}" for problem in problems))
        self.problems = problems


def stem_of(name: str) -> str:
    """The file's stem for people and for pairing: no folders, no control characters, composed Unicode."""
    bare = PurePosixPath(str(name).replace("\\", "/")).name
    stem = bare.rpartition(".")[0] or bare
    shown = "".join(letter for letter in stem if letter.isprintable())
    return unicodedata.normalize("NFC", shown)[:200] or "unnamed"


def pair(images: Iterable[File], masks: Iterable[File]) -> list[tuple[str, File, File]]:
    """(stem, image, mask) of each pair, by stem. Raises Refusal that lists every file without a partner or with two."""
    pictures, problems = _by_stem(images, "pictures")
    drawn, more = _by_stem(masks, "masks")
    problems += more
    drawn = {_partner(key, pictures): file for key, file in drawn.items()}
    for key in sorted(pictures.keys() - drawn.keys()):
        words = "This picture has no mask. Add a mask with the same name, or remove the picture."
        problems.append({"file": _shown(pictures[key]), "message": words})
    for key in sorted(drawn.keys() - pictures.keys()):
        words = "This mask has no picture. Add the picture with the same name, or remove the mask."
        problems.append({"file": _shown(drawn[key]), "message": words})
    if problems:
        raise Refusal(problems)
    return [(stem_of(pictures[key].name), pictures[key], drawn[key]) for key in sorted(pictures)]


def _by_stem(files: Iterable[File], what: str) -> tuple[dict[str, File], list[dict[str, str]]]:
    """Files by folded stem, and an entry for each that shares its stem with another."""
    groups: dict[str, list[File]] = defaultdict(list)
    for file in files:
        groups[stem_of(file.name).casefold()].append(file)
    problems = []
    for same in groups.values():
        for file in same[1:]:
            words = f"Two {what} have this name (letter case and accents aside). Rename one, in both folders."
            problems.append({"file": _shown(file), "message": words})
    return {key: same[0] for key, same in groups.items()}, problems


def _partner(key: str, pictures: dict[str, File]) -> str:
    if key in pictures:
        return key
    bare = next((key.removesuffix(suffix) for suffix in SUFFIXES if key.endswith(suffix)), key)
    return bare if bare in pictures else key


def _shown(file: Named) -> str:
    return PurePosixPath(str(file.name).replace("\\", "/")).name[:120]
