"""From mask values to class ids: the contract's rule, decided over the whole set of a run's masks.

Plain tables in and out; knows nothing of pixels.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from segapp.imaging import palette
from segapp.imaging.formats import MAX_CLASSES
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.values import TRANSPARENT, Summary, channels

IGNORE = 255
SAME, SAME_COLOUR = 16, 24  # compression moves one value this far from mask to mask


def of_one_kind(summaries: Sequence[Summary], names: Sequence[str]) -> list[Summary]:
    """The summaries, all as numbers or all as colours. Raises InvalidFile when they cannot be reconciled."""
    kinds = {summary.kind for summary in summaries}
    if len(kinds) < 2:
        return list(summaries)
    if all(_is_grey(summary) for summary in summaries if summary.kind == "colour"):
        return [summary if summary.kind == "index" else _numbered(summary) for summary in summaries]
    for summary, name in zip(summaries, names, strict=True):
        if summary.kind == "index" and not summary.palette and set(summary.keys) - {0, IGNORE}:
            coloured = names[next(k for k, other in enumerate(summaries) if other.kind == "colour")]
            problem = f"This mask holds numbers for classes, and {coloured} holds colours."
            raise InvalidFile(name, problem, "Save all masks of a set in the same way.")
    return [summary if summary.kind == "colour" else _coloured(summary) for summary in summaries]


def joined(summaries: Sequence[Summary]) -> dict[int, int]:
    """value -> the value it counts as: what compression moved a little is the same class in every mask."""
    weights: dict[int, int] = {}
    exact: set[int] = set()
    for summary in summaries:
        for key, count in zip(summary.keys, summary.counts, strict=True):
            weights[key] = weights.get(key, 0) + count
            if not summary.soft:
                exact.add(key)
    kind = summaries[0].kind if summaries else "index"
    anchors = [TRANSPARENT] if TRANSPARENT in weights else []
    counts_as = {TRANSPARENT: TRANSPARENT} if anchors else {}
    for key in sorted(
        (key for key in weights if key != TRANSPARENT), key=lambda key: (key not in exact, -weights[key])
    ):
        near = None if key in exact else _same(key, anchors, kind)
        counts_as[key] = key if near is None else near
        if near is None:
            anchors.append(key)
    return counts_as


def is_binary(values: Sequence[int]) -> bool:
    """Whether numbers are {0, 255} or {0, v} with v over 127, or 255 alone: background and one class."""
    rest = [value for value in values if value]
    return len(rest) == 1 and rest[0] > 127 and (0 in values or rest[0] == IGNORE)


def ids_of_numbers(values: Sequence[int]) -> tuple[dict[int, int], list[str]]:
    """Sorted values -> class ids, and the rules that were applied, in words."""
    if is_binary(values):
        top = values[-1]
        rule = f"Only 0 and {top} occur: 0 is the background, {top} is the one class."
        return {value: int(value > 0) for value in values}, [rule]
    ids = {value: value for value in values if value < IGNORE and value != TRANSPARENT}
    rules = []
    if IGNORE in values:
        ids[IGNORE] = IGNORE
        rules.append(
            "255 is read as “ignore”: those pixels are left out of training. Change this below if it is a class."
        )
    number = max(ids.keys() - {IGNORE}, default=-1)
    large = [value for value in values if value > IGNORE]
    for value in large:
        number += 2 if number + 1 == IGNORE else 1
        ids[value] = number
    if number > IGNORE:
        raise InvalidFile(
            "masks", f"Their values would need the class number {number}.", "Number the classes from 0 to 63."
        )
    if large:
        pairs = ", ".join(f"{value} is class {ids[value]}" for value in large[:3])
        rules.append(f"Values over 255 are numbered in order: {pairs}{' and so on' if len(large) > 3 else ''}.")
    return ids, rules


def ids_of_colours(values: Sequence[int]) -> tuple[dict[int, int], list[str]]:
    """Colours in the order of (r, g, b) -> 0, 1, 2…; 0xrrggbb sorts like that, and black comes first."""
    ordered = [value for value in values if value != TRANSPARENT]
    black = " Black is the background." if ordered[:1] == [0] else ""
    return {value: k for k, value in enumerate(ordered)}, [f"Each colour is a class.{black}"]


def hold_to_limit(ids: dict[int, int], summaries: Sequence[Summary], names: Sequence[str]) -> None:
    """Raises InvalidFile when a set of masks holds more classes than the contract allows."""
    count = len({number for number in ids.values() if number != IGNORE})
    if count > MAX_CLASSES:
        worst = max(range(len(summaries)), key=lambda k: len(summaries[k].keys))
        problem = f"Together with the other masks it makes {count} classes."
        raise InvalidFile(
            names[worst], problem, f"At most {MAX_CLASSES} can be trained; objects of one kind share a value."
        )


def _same(key: int, anchors: Sequence[int], kind: str) -> int | None:
    """The anchor that `key` is a shifted copy of, or None."""
    known = np.array([anchor for anchor in anchors if anchor != TRANSPARENT], dtype=np.int64)
    if not len(known):
        return None
    apart = np.abs(channels(np.array([key]), kind) - channels(known, kind)).max(axis=1)
    nearest = int(apart.argmin())
    return int(known[nearest]) if apart[nearest] <= (SAME if kind == "index" else SAME_COLOUR) else None


def _is_grey(summary: Summary) -> bool:
    return all(key == TRANSPARENT or key == (key & 255) * 0x010101 for key in summary.keys)


def _numbered(summary: Summary) -> Summary:
    return replace(summary, kind="index", keys=tuple(key if key == TRANSPARENT else key & 255 for key in summary.keys))


def _coloured(summary: Summary) -> Summary:
    """Class numbers as the colours they look like: by the palette, else as greys."""

    def look(key: int) -> int:
        red, green, blue = palette.rgb(summary.palette[key]) if key in summary.palette else (key, key, key)
        return (red << 16) | (green << 8) | blue

    return replace(summary, kind="colour", keys=tuple(look(key) for key in summary.keys))
