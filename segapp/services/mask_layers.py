"""Several kinds of masks for each image, as published sets have them: class ids, the same in colours, object numbers,
the field of view. Which of them say the classes, and which are left out.

Masks whose names differ by a number only are no kinds: each of them is an object (`pairing.several`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from segapp.imaging import InvalidFile, decode
from segapp.imaging.bundle import opened
from segapp.imaging.formats import NAME_WORDS, OBJECT_WORDS, SHOWN_WORDS
from segapp.services.pairing import Group, is_drawing, shown

COMMON_SHARE = 0.6  # of the images with several masks that must have the same kinds of them
FIELD_SHARE = 0.5  # of an image that a field of view covers at least
LOOKED_AT = 1024  # pixels a side that are looked at: what a mask of several kinds is shows in them
WITHIN = 0.99  # of what the other masks mark that lies in it


def sorted_out(groups: Sequence[Group]) -> tuple[list[Group], list[str]]:
    """The groups with the masks that say their classes, and notes on what was left out."""
    kinds = _common(groups)
    if not kinds:
        return list(groups), []
    shows = {kind for kind in kinds if _words(kind) & SHOWN_WORDS}
    numbers = {kind for kind in kinds if _words(kind) & OBJECT_WORDS} - shows
    rest = [kind for kind in kinds if kind not in shows | numbers]
    notes = []
    if not rest:
        rest, shows = (sorted(shows), set()) if shows else (sorted(numbers), shows)
        numbers -= set(rest)
    if numbers:
        notes.append(f"Numbers of the other masks' objects, kept for counting: {_some(groups, numbers)}.")
    if shows:
        notes.append(f"Not used, since the other masks say the same: {_some(groups, shows)}.")
    groups = [_with(group, shows, numbers) for group in groups]
    more: set[str] = set()
    if len(rest) > 1:
        more, words = _by_content(groups, rest)
        if more:
            notes.append(f"{words}: {_some(groups, more)}.")
    return [_with(group, more, set()) for group in groups], notes


def _common(groups: Sequence[Group]) -> list[str]:
    """The kinds that most images with several masks have, one mask of each; none where there are no such kinds."""
    several = [group for group in groups if len(group.masks) > 1 and not any(map(is_drawing, group.masks))]
    if not several:
        return []
    kinds, count = Counter(tuple(sorted(group.kinds)) for group in several).most_common(1)[0]
    if len(set(kinds)) < len(kinds) or count < COMMON_SHARE * len(several):
        return []
    if count == 1 and not any(_words(kind) & (NAME_WORDS | OBJECT_WORDS | SHOWN_WORDS) for kind in kinds):
        return []
    return list(kinds)


def _words(kind: str) -> set[str]:
    return set(kind.split())


def _with(group: Group, dropped: set[str], numbers: set[str]) -> Group:
    """The group without the dropped kinds, and with those that number objects where they belong."""
    if not group.kinds or len(group.masks) < 2:
        return group
    own = list(zip(group.masks, group.kinds, strict=True))
    kept = [(mask, kind) for mask, kind in own if kind not in dropped | numbers]
    if not kept:
        return group
    objects = [*group.objects, *(mask for mask, kind in own if kind in numbers)]
    masks, kinds = [mask for mask, _ in kept], tuple(kind for _, kind in kept)
    return replace(group, masks=masks, kinds=kinds, objects=objects)


def _by_content(groups: Sequence[Group], kinds: Sequence[str]) -> tuple[set[str], str]:
    """Kinds to leave out by what the masks hold, and why."""
    fields = set(kinds)
    plain = True
    for group in groups:
        if set(group.kinds) != set(kinds):
            continue
        marked: dict[str, np.ndarray] = {}
        for mask, kind in zip(group.masks, group.kinds, strict=True):
            try:
                source = decode.mask(opened(mask), shown(mask.name))
            except InvalidFile:
                return set(), ""  # refused with all else when it is read
            step = max(1, max(source.values.shape[:2]) // LOOKED_AT)
            source = replace(source, values=np.ascontiguousarray(source.values[::step, ::step]))
            marked[kind] = _marked(source)
            plain = plain and (source.lossy or _is_plain(source))
        fields &= {kind for kind in marked if _is_field(marked[kind], [m for k, m in marked.items() if k != kind])}
    if fields and len(fields) < len(kinds):
        return fields, "Taken for the field of view, and not used"
    if plain:
        return set(), ""
    best = min(kinds, key=lambda kind: (not _words(kind) & NAME_WORDS, len(kind), kind))
    return set(kinds) - {best}, "Not used, since their values do not go together with those of the other masks"


def _marked(source: Any) -> np.ndarray:
    """bool (H, W): what a mask of two values marks."""
    values = source.values
    if source.kind == "colour":
        return (values[..., :3].max(axis=2) > 127) & (values[..., 3] > 127)
    return values > (int(values.max()) // 2 if source.lossy or values.max() > 127 else 0)


def _is_plain(source: Any) -> bool:
    """Whether the mask has a background and one other value."""
    values = source.values.reshape(-1, 4).view(np.uint32) if source.kind == "colour" else source.values
    return len(np.unique(values)) <= 2


def _is_field(own: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    if own.mean() < FIELD_SHARE or any(other.shape != own.shape for other in others):
        return False
    return all((other & own).sum() >= WITHIN * other.sum() and other.sum() < own.sum() for other in others)


def _some(groups: Sequence[Group], kinds: set[str]) -> str:
    """Names of the files of these kinds: "a_color.png and 4 more"."""
    names = [
        shown(mask.name)
        for group in groups
        if len(group.masks) > 1
        for mask, kind in zip(group.masks, group.kinds, strict=True)
        if kind in kinds
    ]
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
