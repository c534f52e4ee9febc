"""A mask of class ids becomes numbered objects. Knows nothing of files, models or rows.

Pixels that touch by a side or a corner belong together, so a crack one pixel wide stays whole.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
import scipy  # its parts are loaded where they are first used

from segapp.imaging.object_options import DROP, KEEP
from segapp.measurement import splitting
from segapp.measurement.runs import runs

FILLS = 0.5  # of the image, that one part of a ground covers
MAX_OBJECTS = 65_535  # what a 16-bit image of object numbers holds


class TooManyObjects(Exception):
    """More objects than a 16-bit image can number; the message says what to do."""


@dataclass(frozen=True)
class Settings:
    """things: the class ids that are counted. split: None leaves touching objects together, else 0 to 1, from hardly
    ever to at every narrow place. min_area: pixels. edges: KEEP or DROP those that the image's edge cuts."""

    things: tuple[int, ...]
    split: float | None = None
    min_area: int = 1
    edges: str = KEEP
    fill_holes: bool = False


@dataclass(frozen=True)
class Objects:
    """labels: int32 H,W, 0 where there is no object, else its number 1..n. class_ids: uint8 n, of object k+1."""

    labels: np.ndarray
    class_ids: np.ndarray

    @property
    def count(self) -> int:
        return len(self.class_ids)

    def counts(self, things: Collection[int]) -> dict[int, int]:
        """How many objects each of these classes has."""
        found = np.bincount(self.class_ids, minlength=256)
        return {int(k): int(found[k]) for k in things}


def find(ids: np.ndarray, settings: Settings, distance: np.ndarray | None = None) -> Objects:
    """The objects of a mask (uint8 H,W of class ids), numbered from the top left without gaps.

    `distance`, float32 H,W from 0 at an object's border to 1 at its middle, is a model's own opinion of where objects
    end; without it objects are split by their shape. Raises TooManyObjects.
    """
    _, labels, codes = parts_of(ids, settings, distance)
    found = numbered(labels, codes, settings)
    if found.count > MAX_OBJECTS:
        raise TooManyObjects(
            f"This image has {found.count:,} objects; at most {MAX_OBJECTS:,} can be numbered. "
            "Raise the minimum area, or count fewer classes."
        )
    return found


def parts_of(
    ids: np.ndarray, settings: Settings, distance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers (H,W) of the connected parts before splitting and after it, and codes: 1.. for the places in
    settings.things, 0 for all else."""
    counted = np.zeros(256, np.uint8)
    counted[list(settings.things)] = np.arange(1, len(settings.things) + 1)
    codes = counted[ids]  # class id 0 may be a thing, and code 0 is the space between objects
    if settings.fill_holes:
        codes = _filled(codes, len(settings.things))
    parts = labels = connected(codes)
    if settings.split is not None and parts.any():
        labels = splitting.split(parts, codes, settings.split, distance)
        if distance is not None and settings.split > 0:
            labels = splitting.with_middle(labels, distance)
    return parts, labels, codes


def connected(codes: np.ndarray) -> np.ndarray:
    """Numbers (uint32 H,W) of the connected parts of equal non-zero values."""
    return cc3d.connected_components(codes, connectivity=8, out_dtype=np.uint32).reshape(codes.shape)


def from_instances(labels: np.ndarray, ids: np.ndarray) -> Objects:
    """Objects given by their numbers, gaps and all; each has the class that most of its pixels have in `ids`."""
    numbers = np.flatnonzero(np.bincount(labels.ravel()))
    numbers = numbers[numbers > 0]
    table = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    table[numbers] = np.arange(1, len(numbers) + 1)
    renumbered = table[labels]
    inside = renumbered > 0
    votes = np.bincount(renumbered[inside].astype(np.int64) * 256 + ids[inside], minlength=(len(numbers) + 1) * 256)
    return Objects(renumbered, votes.reshape(-1, 256)[1:].argmax(axis=1).astype(np.uint8))


def without(objects: Objects, numbers: Collection[int]) -> Objects:
    """The objects without these, renumbered."""
    kept = ~np.isin(np.arange(1, objects.count + 1), list(numbers))
    return _kept(objects.labels, objects.class_ids, kept)


def merged(objects: Objects, numbers: Collection[int]) -> Objects:
    """These objects as one, which takes the smallest of their numbers and that one's class."""
    chosen = sorted(number for number in set(numbers) if 1 <= number <= objects.count)
    if len(chosen) < 2:
        return objects
    table = np.arange(objects.count + 1, dtype=np.int32)
    table[chosen] = chosen[0]
    kept = ~np.isin(np.arange(1, objects.count + 1), chosen[1:])
    return _kept(table[objects.labels], objects.class_ids, kept)


def touches_edge(objects: Objects) -> np.ndarray:
    """bool n: which objects have a pixel in the image's outermost rows or columns."""
    labels = objects.labels
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    cut = np.zeros(objects.count + 1, bool)
    cut[border] = True
    return cut[1:]


def countable(ids: np.ndarray, class_id: int) -> bool:
    """Whether a class looks like separate objects on this mask rather than like a ground that fills half of it."""
    pixels = (ids == class_id).astype(np.uint8)
    if int(np.count_nonzero(pixels)) < FILLS * ids.size:
        return True
    parts = connected(pixels)
    largest = int(runs(parts).areas(int(parts.max())).max())
    return largest < FILLS * ids.size


def countable_on_most(masks: Iterable[np.ndarray], class_id: int) -> bool | None:
    """The same over masks (uint8 H,W): what most of those say that have the class; None where none has."""
    found = [countable(mask, class_id) for mask in masks if (mask == class_id).any()]
    return 2 * sum(found) >= len(found) if found else None


def numbered(labels: np.ndarray, codes: np.ndarray, settings: Settings) -> Objects:
    """Those large enough and whole enough, in the order of their first pixels."""
    found, most = runs(labels), int(labels.max(initial=0))
    areas, first = found.areas(most), found.first_pixels(most)
    of_class = np.array([0, *settings.things], np.uint8)[codes.ravel()[first]]
    keep = areas >= max(1, settings.min_area)
    if settings.edges == DROP:
        for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            keep[line] = False
    keep[0] = False
    numbers = np.flatnonzero(keep)
    numbers = numbers[np.argsort(first[numbers], kind="stable")]
    table = np.zeros(len(areas), np.int32)
    table[numbers] = np.arange(1, len(numbers) + 1)
    return Objects(table[labels], of_class[numbers])


def _filled(codes: np.ndarray, things: int) -> np.ndarray:
    """Holes of each class that nothing else lies in belong to it."""
    for code in range(1, things + 1):
        holes = scipy.ndimage.binary_fill_holes(codes == code) & (codes == 0)
        codes = np.where(holes, np.uint8(code), codes)
    return codes


def _kept(labels: np.ndarray, class_ids: np.ndarray, kept: np.ndarray) -> Objects:
    table = np.zeros(len(class_ids) + 1, np.int32)
    table[1:][kept] = np.arange(1, int(kept.sum()) + 1)
    return Objects(table[labels], class_ids[kept])


def is_background(row: dict[str, Any]) -> bool:
    """Whether a class is what lies between objects: id 0, or one of that name."""
    return int(row["id"]) == 0 or str(row["name"]).strip().lower() == "background"
