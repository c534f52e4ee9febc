"""Masks painted in the browser: a grey PNG whose values are class ids, 255 for what was not painted.

A painted value says its class itself, so the rules for uploaded values ({0, 255}, order of colours) are not for it. In
a set's tables its keys are PAINTED + value, apart from every number and colour that a file may hold.
"""

from collections.abc import Iterable, Sequence
from typing import IO, Any

import numpy as np
from PIL import Image

from segapp.imaging import forked, memory
from segapp.imaging.formats import UNPAINTED
from segapp.imaging.image_input import ImageInput
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.values import TRANSPARENT, Mask, Summary

KIND = "painted"
DAMAGED = "The painted mask did not arrive whole."
PAINTED = 1 << 24
UNKNOWN = PAINTED + UNPAINTED  # the key of unpainted pixels: no class, and none can be made of them

_EVERY = Summary(KIND, tuple(PAINTED + value for value in range(256)), (0,) * 256)


def is_painted(summary: Summary) -> bool:
    return summary.kind == KIND


def decode(file: IO[bytes], size: tuple[int, int], name: str, scaled: bool = False) -> np.ndarray:
    """uint8 (H, W) of a sent mask. Raises InvalidFile for what is no 8-bit grey PNG of exactly this (width, height),
    and memory.DecodersBusy.

    `scaled`: one that was scaled down is taken, too, at its own size.
    """
    advice = "Reload the page and paint on; what was saved before is kept."
    try:
        with Image.open(file, formats=("PNG",)) as opened, memory.decoding.hold(memory.STORED * size[0] * size[1]):
            if opened.mode != "L" or getattr(opened, "is_animated", False):
                raise InvalidFile(name, "The painted mask is not an 8-bit grey image.", advice)
            if opened.size != size and not (scaled and _is_smaller(opened.size, size)):
                words = f"The painted mask is {opened.width} × {opened.height} pixels, its image {size[0]} × {size[1]}."
                raise InvalidFile(name, words, advice)
            need = memory.STORED * opened.width * opened.height
            try:
                return np.array(forked.read("grey", file, name, ImageInput(), need).values)
            except InvalidFile:
                raise InvalidFile(name, DAMAGED, advice) from None
    except (InvalidFile, memory.DecodersBusy):
        raise
    except Exception:  # parsers raise what they like on what is no image
        raise InvalidFile(name, DAMAGED, advice) from None


def _is_smaller(size: tuple[int, int], whole: tuple[int, int]) -> bool:
    """Whether `size` is `whole` scaled down, to the pixel that rounding may cost."""
    factor = max(size) / max(whole)
    return factor <= 1 and all(abs(one - other * factor) <= 1 for one, other in zip(size, whole, strict=True))


def counts(values: np.ndarray) -> np.ndarray:
    """int64 (256): how many pixels hold each value."""
    return np.array(Image.fromarray(values).histogram(), dtype=np.int64)  # numpy would take nine bytes a pixel


def summary(counted: np.ndarray, unpainted: int) -> Summary:
    """What a painted mask holds, with unpainted pixels counted as `unpainted`: a class id, or 255 for "ignore"."""
    totals = counted.copy()
    if unpainted != UNPAINTED:
        totals[unpainted] += totals[UNPAINTED]
        totals[UNPAINTED] = 0
    held = np.flatnonzero(totals)
    return Summary(KIND, tuple(PAINTED + int(value) for value in held), tuple(int(totals[value]) for value in held))


def as_mask(values: np.ndarray, unpainted: int) -> Mask:
    """The stored values as a mask whose codes are the class ids themselves."""
    if unpainted != UNPAINTED:
        values = np.where(values == UNPAINTED, np.uint8(unpainted), values)
    return Mask(values, _EVERY)


def anchored(
    ids: dict[int, int], labels: dict[int, str], numbers: bool, known: Sequence[dict[str, Any]]
) -> dict[int, int]:
    """Ids of uploaded values beside painted masks: painted ids stand, uploaded ones follow.

    ids: value -> id as the rules number the uploaded masks; labels: value -> its source as the class table shows it;
    `numbers`: values that are class numbers themselves. A value that a painted class was made from keeps that class's
    id; another one whose id is then taken gets the next free one.
    """
    wanted = {row["source"]: row["id"] for row in known if row.get("source")}
    claimed = set(wanted.values())
    free = max([*ids.values(), *(row["id"] for row in known)], key=lambda number: number % UNPAINTED, default=-1)
    found = {}
    for value, number in ids.items():
        if number == UNPAINTED or value == TRANSPARENT:
            found[value] = number
        elif labels[value] in wanted:
            found[value] = wanted[labels[value]]
        elif number in claimed and not (numbers and value == number):
            free += 1
            found[value] = free
        else:
            found[value] = number
    return found


def known_by_id(lists: Iterable[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One list of classes from several, sorted by id; the first to name an id is right."""
    rows: dict[int, dict[str, Any]] = {}
    for classes in lists:
        for row in classes:
            rows.setdefault(row["id"], dict(row))
    return [rows[number] for number in sorted(rows)]
