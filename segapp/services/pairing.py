"""Which masks belong to which image: by names and folders over the whole set, never by order."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from segapp.imaging import formats
from segapp.imaging.annotations import Drawing
from segapp.services.errors import InvalidUpload

MAX_STEM_LENGTH, MAX_SHOWN_LENGTH = 200, 120

COMMON_SHARE = 0.6  # of a side's names that must have an ending for it to be common to them
MAX_AFFIXES = 6  # endings of a side that are tried, the commonest first
MAX_LAYERS = 4  # ways in which the masks of one image are named
SEPARATORS = "_-. "
UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")  # Label Studio puts it before the names of images
_CUTS = re.compile(r"(?<=[a-z])(?=[0-9])|(?<=[0-9])(?=[a-z])|(?=[_\-. ])")
_LETTER = re.compile(r"[^\W\d_]")
_NUMBERS = re.compile(r"[_\-. ]*\d+$")
_LETTERS, _ORDINALS = re.compile(r"[^\W\d_]+"), re.compile(r"\d+(?:st|nd|rd|th)?")
_PARTS = re.compile(r"[^\W\d_]+|\d+")


@dataclass(frozen=True)
class Group:
    """An image with its masks. objects: masks of the same image that number its objects, beside others for classes.
    kinds: for each mask the words by which its name differs from those of the others, "" for none."""

    stem: str
    image: Any
    masks: list[Any]
    objects: list[Any] = field(default_factory=list)
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pairing:
    """groups: sorted by stem. notes: how names were read. problems: {file, message} of what has no partner.

    lonely: the files that the problems are about; alone: the images among them that only lack a mask.
    """

    groups: list[Group]
    notes: list[str]
    problems: list[dict[str, str]]
    lonely: list[Any]
    alone: list[Any]


class _Entry(NamedTuple):
    """folder: without the folders that only say what lies in them; role: "objects" or "". by_name_only: the file says
    itself which image it means, so nothing is guessed."""

    file: Any
    folder: str
    stem: str
    role: str
    by_name_only: bool = False


class _Affixes(NamedTuple):
    """What is taken off: beginnings and endings of images' and masks' names."""

    image_start: str = ""
    image_end: str = ""
    mask_start: str = ""
    mask_end: str = ""


def is_drawing(file: Any) -> bool:
    """Whether this stands for what an annotation file says of an image."""
    return isinstance(file, Drawing)


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


def pair(images: Iterable[Any], masks: Iterable[Any]) -> list[Group]:
    """The groups. Raises InvalidUpload, listing files without a partner and names that occur twice."""
    found = arrange(images, masks)
    if found.problems:
        raise InvalidUpload(found.problems)
    return found.groups


def arrange(images: Iterable[Any], masks: Iterable[Any]) -> Pairing:
    """Find each mask's image. A file has a `name`, and may have the `folder` it came from."""
    shots, twice = _entries(images, "images")
    drawn, more = _entries(masks, "masks")
    problems = twice + more
    if all(map(_is_uploaded, shots)) and not any(map(_is_uploaded, drawn)):
        shots = [entry._replace(stem=UPLOAD_PREFIX.sub("", entry.stem)) for entry in shots]
    found, affixes = _matched(shots, drawn)
    groups, alone, notes = [], [], _how_named(affixes, shots, drawn)
    by_image: dict[int, list[_Entry]] = defaultdict(list)
    for place, image in sorted(found.items()):
        by_image[image].append(drawn[place])
    stems = _stems(shots)
    for k, entry in enumerate(shots):
        own = by_image.get(k, [])
        classes = [one for one in own if not one.role]
        objects = [one.file for one in own if one.role]
        if not own:
            alone.append(entry.file)
        elif classes:
            groups.append(Group(stems[k], entry.file, [one.file for one in classes], objects, _kinds(classes)))
        else:
            groups.append(Group(stems[k], entry.file, objects))
    lonely = [drawn[k].file for k in range(len(drawn)) if k not in found]
    absent = [file.name for file in lonely if getattr(file, "many", False)]
    lonely = [file for file in lonely if not getattr(file, "many", False)]
    problems += [
        _problem(file, "This image has no mask. Add a mask with the same name, or remove the image.") for file in alone
    ]
    problems += [
        _problem(file, "This mask has no image. Add the image with the same name, or remove the mask.")
        for file in lonely
    ]
    if (alone or lonely) and notes:
        problems.append({"file": "", "message": " ".join(notes)})
    elif alone and lonely and (pattern := _pattern(shots, drawn)):
        problems.append({"file": "", "message": pattern})
    if absent:
        rest = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        notes.append(f"Annotated, but not sent: {', '.join(map(shown, absent[:3]))}{rest}.")
    return Pairing(sorted(groups, key=lambda group: fold(group.stem)), notes, problems, [*alone, *lonely], alone)


def unique(files: Iterable[Any]) -> list[Any]:
    """Images without masks, sorted by stem. Raises InvalidUpload that lists those who share their stem with another."""
    entries, problems = _entries(files, "images")
    if problems:
        raise InvalidUpload(problems)
    return [entry.file for entry in sorted(entries, key=lambda entry: (entry.folder, entry.stem))]


def _is_uploaded(entry: _Entry) -> bool:
    return UPLOAD_PREFIX.match(entry.stem) is not None


def _kinds(entries: Sequence[_Entry]) -> tuple[str, ...]:
    """For each mask of an image the words that not all of them have in their name or folder."""
    words = [_LETTERS.findall(_ORDINALS.sub(" ", f"{entry.folder} {entry.stem}")) for entry in entries]
    every = set(words[0]).intersection(*words)
    return tuple(" ".join(word for word in own if word not in every) for own in words)


def _problem(file: Any, message: str) -> dict[str, str]:
    return {"file": shown(getattr(file, "origin", file.name)), "message": message}


def _stem(name: Any) -> str:
    bare = PurePosixPath(str(name).replace("\\", "/")).name
    stem, dot, ending = bare.rpartition(".")
    # Only what looks like an ending is one: scan.0001 and scan.0002 are two stems.
    stem = stem if dot and stem and ending.isalpha() else bare
    if ending.lower() in ("tif", "tiff") and stem.lower().endswith(".ome"):
        stem = stem[:-4] or stem
    visible = "".join(letter for letter in stem if letter.isprintable())
    return unicodedata.normalize("NFC", visible) or "unnamed"


def _entries(files: Iterable[Any], what: str) -> tuple[list[_Entry], list[dict[str, str]]]:
    """The files with names to compare, and a problem for each that has the name of another in its folder."""
    entries: list[_Entry] = []
    problems: list[dict[str, str]] = []
    seen: dict[tuple[str, str], Any] = {}
    for file in files:
        folder, stem = fold(str(getattr(file, "folder", ""))), fold(_stem(file.name))
        first = seen.setdefault((folder, stem), file)
        if first is not file:
            message = f"Another of the {what} has the same name, up to capitals and the ending: {shown(first.name)}."
            problems.append(_problem(file, f"{message} Rename or remove one of them."))
            continue
        parts = [part for part in folder.replace("\\", "/").split("/") if part]
        role = "objects" if what == "masks" and any(part in formats.OBJECT_FOLDERS for part in parts) else ""
        entries.append(
            _Entry(
                file, "/".join(filter(None, map(formats.without_kind, parts))), stem, role, getattr(file, "many", False)
            )
        )
    return entries, problems


# --- matching -----------------------------------------------------------------------------------------------


def _matched(shots: Sequence[_Entry], drawn: Sequence[_Entry]) -> tuple[dict[int, int], list[_Affixes]]:
    """Place of a mask -> place of its image, and what was taken off the names, for each kind of masks."""
    found = _by_names(shots, drawn, _Affixes())
    best, affixes = found, _Affixes()
    others = [entry for entry in drawn if not entry.by_name_only]
    if len(found) < len(drawn) or len(set(found.values())) < len(shots):
        for tried in _candidates(shots, others):
            other = _by_names(shots, drawn, tried)
            if (len(set(other.values())), len(other)) > (len(set(best.values())), len(best)):
                best, affixes = other, tried
    others_of_it = _in_other_layers(shots, drawn, best)
    _by_words(shots, drawn, best, affixes)
    _by_insertion(shots, drawn, best)
    _by_folders(shots, drawn, best)
    _by_containment(shots, drawn, best)
    return best, [affixes, *others_of_it]


def _in_other_layers(shots: Sequence[_Entry], drawn: Sequence[_Entry], found: dict[int, int]) -> list[_Affixes]:
    """Masks whose names are made in another way than those that are paired already: a second mask of each image."""
    taken_off: list[_Affixes] = []
    for _ in range(MAX_LAYERS):
        left = [k for k in range(len(drawn)) if k not in found and not drawn[k].by_name_only]
        if not left or not found:
            break
        rest = [drawn[k] for k in left]
        more: dict[int, int] = {}
        affixes = _Affixes()
        for tried in _candidates(shots, rest, guess_masks=False):
            other = _by_names(shots, rest, tried)
            if len(other) > len(more) and len(set(other.values())) == len(other):
                more, affixes = other, tried
        if len(more) < COMMON_SHARE * min(len(shots), len(left)):
            break
        found.update({left[place]: image for place, image in more.items()})
        taken_off.append(affixes)
    return taken_off


def _by_names(shots: Sequence[_Entry], drawn: Sequence[_Entry], affixes: _Affixes) -> dict[int, int]:
    """Masks whose whole name is an image's, or is when the affixes are taken off both; first within a folder."""
    found: dict[int, int] = {}
    plain = [entry.stem for entry in shots]
    bare = [_without(entry.stem, affixes.image_start, affixes.image_end) for entry in shots]
    for in_folder in (True, False):
        for names in (plain, bare):
            index: dict[tuple[str, str], list[int]] = defaultdict(list)
            for k, name in enumerate(names):
                index[(shots[k].folder if in_folder else "", name)].append(k)
            for place, entry in enumerate(drawn):
                if place in found:
                    continue
                if names is bare and entry.by_name_only:
                    continue
                name = entry.stem if names is plain else _without(entry.stem, affixes.mask_start, affixes.mask_end)
                there = index.get((entry.folder if in_folder else "", name), [])
                if len(there) == 1:
                    found[place] = there[0]
    return found


def _without(stem: str, start: str, end: str) -> str:
    bare = stem.removeprefix(start).removesuffix(end)
    return bare if any(letter.isalnum() for letter in bare) else stem


def _candidates(shots: Sequence[_Entry], drawn: Sequence[_Entry], guess_masks: bool = True) -> list[_Affixes]:
    """Affixes to try, those that take least off first. At most one of them may be a mere guess, and of masks only
    where `guess_masks` says so."""
    sides = []
    for entries in (shots, drawn):
        stems = [entry.stem for entry in entries]
        least = COMMON_SHARE * min(len(stems), len(shots))  # of several masks an image, each kind has its ending
        starts, ends = _affixes(stems, True, least), _affixes(stems, False, least)
        sides.append(([("", True), *starts], [("", True), *ends]))
    found = []
    for (a, sure_a), (b, sure_b), (c, sure_c), (d, sure_d) in product(*sides[0], *sides[1]):
        guesses = (sure_a, sure_b, sure_c, sure_d).count(False)
        if guesses <= 1 and (guess_masks or (sure_c and sure_d)) and (a or b or c or d):
            found.append(_Affixes(a, b, c, d))
    return sorted(found, key=lambda affixes: sum(map(len, affixes)))


def _affixes(stems: Sequence[str], at_start: bool, least: float) -> list[tuple[str, bool]]:
    """Beginnings or endings that at least so many of these names share, and whether they can be relied on."""
    counts: Counter[str] = Counter()
    for stem in stems:
        cuts = [cut.start() for cut in _CUTS.finditer(stem)]
        if at_start:
            counts.update({stem[: cut + (stem[cut] in SEPARATORS)] for cut in cuts if cut})
        else:
            counts.update({stem[cut:] for cut in cuts if cut})
    found = []
    for affix, count in counts.most_common(4 * MAX_AFFIXES):
        if not _LETTER.search(affix):
            continue
        common = count >= 2 and count >= least
        if common or _is_word(affix):
            found.append((affix, True))
        elif len(stems) == 1 and not at_start and affix[0] in SEPARATORS:
            found.append((affix, False))
    return sorted(found, key=lambda item: (-counts[item[0]], -item[1], len(item[0])))[:MAX_AFFIXES]


def _is_word(affix: str) -> bool:
    """Whether an affix is made of words that say image or mask, and numbers."""
    parts = [part for part in re.split(r"[_\-. ]+|\d+", affix) if part]
    return bool(parts) and all(part in formats.NAME_WORDS for part in parts)


def _by_words(shots: Sequence[_Entry], drawn: Sequence[_Entry], found: dict[int, int], affixes: _Affixes) -> None:
    """Masks whose name is an image's with more behind it: a word for mask, or a number where there are several."""
    cores = [_without(entry.stem, affixes.image_start, affixes.image_end) for entry in shots]
    lengths = sorted({len(core) for core in cores}, reverse=True)
    index: dict[str, list[int]] = defaultdict(list)
    for k, core in enumerate(cores):
        index[core].append(k)
    loose: dict[int, list[int]] = defaultdict(list)
    has_mask = set(found.values())
    for place, entry in enumerate(drawn):
        if place in found or entry.by_name_only:
            continue
        stem = entry.stem.removeprefix(affixes.mask_start)
        for length in lengths:
            there = [k for k in index.get(stem[:length], []) if _CUTS.match(stem, length)]
            near = [k for k in there if shots[k].folder == entry.folder] or there
            if len(near) != 1:
                continue
            rest = stem[length:]
            own = _NUMBERS.sub("", rest).removesuffix(affixes.mask_end) if affixes.mask_end else _NUMBERS.sub("", rest)
            if not own:  # a number behind a number may be another image's
                if _LETTER.search(stem[:length]):
                    loose[near[0]].append(place)
            elif _is_word(own) or own in (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"):
                found[place] = near[0]
            elif near[0] not in has_mask and _LETTER.search(own) and len(shots) > 1:
                loose[near[0]].append(place)
            break
    for image, places in loose.items():
        if len(places) > 1 or image in found.values():
            found.update(dict.fromkeys(places, image))


def _by_insertion(shots: Sequence[_Entry], drawn: Sequence[_Entry], found: dict[int, int]) -> None:
    """Masks whose name is an image's with words in the middle that other masks have too: um_0001, um_road_0001."""
    parts = [tuple(_PARTS.findall(entry.stem)) for entry in shots]
    added: dict[int, tuple[int, tuple[str, ...]]] = {}
    for place, entry in enumerate(drawn):
        if place in found or entry.by_name_only:
            continue
        own = tuple(_PARTS.findall(entry.stem))
        near = [(k, rest) for k, name in enumerate(parts) if (rest := _inserted(name, own)) is not None]
        least = min((len(rest) for _, rest in near), default=0)
        near = [(k, rest) for k, rest in near if len(rest) == least]
        if len(near) == 1:
            added[place] = near[0]
    counts = Counter(rest for _, rest in added.values())
    for place, image in found.items():
        counts[_inserted(parts[image], tuple(_PARTS.findall(drawn[place].stem))) or ()] += 1
    for place, (image, rest) in added.items():
        if counts[rest] > 1 or all(part in formats.NAME_WORDS for part in rest):
            found[place] = image


def _inserted(name: Sequence[str], longer: Sequence[str]) -> tuple[str, ...] | None:
    """The words that `longer` has and `name` has not, where the rest is the same in the same order and has a number."""
    left, rest = list(name), []
    for part in longer:
        if left and left[0] == part:
            left.pop(0)
        else:
            rest.append(part)
    numbered = any(part.isdigit() for part in name)
    return tuple(rest) if numbered and rest and not left and not any(part.isdigit() for part in rest) else None


def _by_containment(shots: Sequence[_Entry], drawn: Sequence[_Entry], found: dict[int, int]) -> None:
    """What is left on both sides, where the name of each is part of just one on the other side: x_a01_s1_w1, a01_s1."""
    has_mask = set(found.values())
    images = [k for k in range(len(shots)) if k not in has_mask]
    masks = [k for k in range(len(drawn)) if k not in found and not drawn[k].by_name_only]
    if len(images) != len(masks):
        return
    partner: dict[int, int] = {}
    for place in masks:
        near = [
            k for k in images if _within(drawn[place].stem, shots[k].stem) or _within(shots[k].stem, drawn[place].stem)
        ]
        if len(near) != 1 or near[0] in partner.values():
            return
        partner[place] = near[0]
    found.update(partner)


def _within(short: str, long: str) -> bool:
    """Whether a name of more than a number or a word stands in the other one as a whole."""
    parts, whole = _PARTS.findall(short), _PARTS.findall(long)
    if len(parts) < 2 or not _LETTER.search(short):
        return False
    places = [k for k in range(len(whole) - len(parts) + 1) if whole[k : k + len(parts)] == parts]
    around = [whole[:k] + whole[k + len(parts) :] for k in places]
    return any(any(not part.isdigit() for part in rest) for rest in around)  # a_1 and a_1_2 may be two


def _by_folders(shots: Sequence[_Entry], drawn: Sequence[_Entry], found: dict[int, int]) -> None:
    """Masks in a folder named like an image, or in a folder that holds just one image: one file an object."""
    by_folder: dict[str, list[int]] = defaultdict(list)
    by_stem: dict[str, list[int]] = defaultdict(list)
    for k, entry in enumerate(shots):
        by_folder[entry.folder].append(k)
        by_stem[entry.stem].append(k)
    for place, entry in enumerate(drawn):
        if place in found or not entry.folder or entry.by_name_only:
            continue
        named = by_stem.get(entry.folder.rsplit("/", 1)[-1], [])
        inside = by_folder.get(entry.folder, [])
        if len(named) == 1 or len(inside) == 1:
            found[place] = (named if len(named) == 1 else inside)[0]


def _stems(shots: Sequence[_Entry]) -> list[str]:
    """The images' own names; with their folder where two have the same."""
    counts = Counter(entry.stem for entry in shots)
    found = []
    for entry in shots:
        stem = stem_of(entry.file.name)
        if counts[entry.stem] > 1 and entry.folder:
            stem = f"{entry.folder.replace('/', '_')}_{stem}"[:MAX_STEM_LENGTH]
        found.append(stem)
    return found


# --- words --------------------------------------------------------------------------------------------------


def _how_named(taken_off: Sequence[_Affixes], shots: Sequence[_Entry], drawn: Sequence[_Entry]) -> list[str]:
    parts_named = []
    for what, entries, ends in (
        ("masks", drawn, [(affixes.mask_start, affixes.mask_end) for affixes in taken_off]),
        ("images", shots, [(affixes.image_start, affixes.image_end) for affixes in taken_off]),
    ):
        parts = [" and ".join(found) for start, end in ends if (found := _parts(entries, start, end))]
        if parts:
            every = " or ".join(dict.fromkeys(parts))
            for verb in ("end in", "begin with"):
                every = every.replace(f"” or {verb} ", "” or ") if every.count(verb) == len(set(parts)) else every
            parts_named.append(f"your {what} {every}")
    return [f"{_capital(' and '.join(parts_named))}: they are paired by what is left."] if parts_named else []


def _pattern(shots: Sequence[_Entry], drawn: Sequence[_Entry]) -> str:
    """What the names of both sides look like, where nothing could be made of it; "" when they have no pattern."""
    parts_named = []
    seen = False
    for what, entries in (("images", shots), ("masks", drawn)):
        stems = [entry.stem for entry in entries]
        least = COMMON_SHARE * len(stems)
        start, end = (next((affix for affix, sure in _affixes(stems, at, least) if sure), "") for at in (True, False))
        parts = _parts(entries, start, end)
        example = shown(entries[0].file.name)
        seen = seen or bool(parts)
        parts_named.append(f"your {what} {' and '.join(parts)}" if parts else f"your {what} are named like {example}")
    if not seen:
        return ""
    return f"{_capital(' and '.join(parts_named))}. An image and its mask need the same name, up to such endings."


def _parts(entries: Sequence[_Entry], start: str, end: str) -> list[str]:
    """The affixes as text, in the capitals of a file that has them."""
    names = [_stem(entry.file.name) for entry in entries]
    starts = next((name[: len(start)] for name in names if fold(name[: len(start)]) == start), start)
    ends = next((name[-len(end) :] for name in names if end and fold(name[-len(end) :]) == end), end)
    return [*([f"begin with “{starts}”"] if start else []), *([f"end in “{ends}”"] if end else [])]


def several(groups: Sequence[Group]) -> list[str]:
    """A sentence on images with more than one mask."""
    many = [group for group in groups if len(group.masks) > 1 and not any(map(is_drawing, group.masks))]
    if not many:
        return []
    files = sum(len(group.masks) for group in many)
    one = many[0]
    names = ", ".join(shown(mask.name) for mask in one.masks[:3]) + (" …" if len(one.masks) > 3 else "")
    what = f"{len(many)} images have" if len(many) > 1 else f"{shown(one.image.name)} has"
    return [f"{what} several masks ({files} files, such as {names}): they are united, and each file is one object."]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
