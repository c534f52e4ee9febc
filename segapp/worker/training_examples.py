"""Examples as a training takes them: no larger than needed, with the objects of those classes that are counted.

Knows nothing of rows, files or queues.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from registry.network import ClassInfo
from segapp.imaging.class_mapping import ClassMapping
from segapp.imaging.numbering import IGNORE
from segapp.measurement import objects
from segapp.pipeline.training.input_size import MAX_EXAMPLE_SIDE

MAX_SIDE = MAX_EXAMPLE_SIDE  # pixels; larger images are trained on at this size, so that fifty of them fit in memory
MOSTLY = 0.5  # share of ignored pixels above which a mask is taken for scribbles
THINGS_SIDE = 1024  # pixels of a training mask's longer side are enough to tell objects from a ground


def with_things(
    classes: Sequence[ClassInfo], masks: Iterable[np.ndarray], parent: Sequence[dict[str, Any]] = ()
) -> list[ClassInfo]:
    """The classes with `things` stated for all that is not a background and occurs in the training masks (uint8 H,W).

    What the masks or the visitor say already stays; then counts what `parent`, the classes of the model that is trained
    on from, say; then what looks like separate objects on most masks.
    """
    known = {(row["id"], row["name"]): row.get("things") for row in parent}
    small = [mask[:: _step(mask), :: _step(mask)] for mask in masks]
    found = []
    for one in classes:
        things = one.things if one.things is not None else known.get((one.id, one.name))
        if things is None and not objects.is_background(one.to_dict()):
            things = objects.countable_on_most(small, one.id)
        found.append(replace(one, things=things))
    return found


def _step(mask: np.ndarray) -> int:
    return max(1, max(mask.shape) // THINGS_SIDE)


def numbers_of_things(numbers: np.ndarray | None, ids: np.ndarray, mapping: ClassMapping) -> np.ndarray | None:
    """The object numbers (H, W) of classes that are counted, by their ids (H, W); None where there are none."""
    if numbers is None:
        return None
    kept = np.where(np.isin(ids, [row["id"] for row in mapping.classes if row.get("things")]), numbers, 0)
    return kept if kept.any() else None


def resized_numbers(numbers: np.ndarray | None, ids: np.ndarray) -> np.ndarray | None:
    """Object numbers at the size of a mask that may have been scaled down."""
    if numbers is None or numbers.shape == ids.shape:
        return numbers
    whole = Image.fromarray(numbers.astype(np.int32))
    return np.asarray(whole.resize((ids.shape[1], ids.shape[0]), Image.Resampling.NEAREST))


def shrink(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) and ids (H, W), both scaled down together when longer than MAX_SIDE pixels.

    In a mask that is mostly unknown, as scribbles leave it, a thin stroke is not lost between two sampled pixels.
    """
    height, width = mask.shape
    factor = MAX_SIDE / max(height, width)
    if factor >= 1:
        return image, mask
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    ids = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    if (ids == IGNORE).mean() > MOSTLY:
        rows, columns = (
            np.arange(count) * length // count for count, length in zip(ids.shape, mask.shape, strict=True)
        )
        known = np.minimum.reduceat(np.minimum.reduceat(mask, rows, axis=0), columns, axis=1)
        ids = np.where(ids == IGNORE, known, ids)
    return np.asarray(small), ids
