"""The objects of a mask that is too large to be looked at at once: found and measured window by window.

A window is some rows at full width. An object is measured in the first window that holds it whole with MARGIN rows
around it; the next window begins above all that were not whole. So objects, numbers and measures are those that the
whole mask would give, and memory is a window's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy  # its parts are loaded where they are first used

from segapp.imaging.object_options import DROP, KEEP, ObjectOptions
from segapp.imaging.pixel_size import GeoReference, PixelSize
from segapp.measurement import measured, objects, polygons, table
from segapp.measurement.document import Document
from segapp.measurement.objects import Objects, Settings, TooManyObjects
from segapp.measurement.table import Table

WINDOW = 8_000_000  # pixels that a window adds
LARGEST = 64_000_000  # pixels of a window, at most
MARGIN = 64  # rows around an object that may have a part in how it is split
LOOK = 2_000_000  # pixels of a thinned mask that tells things from grounds
MAX_OBJECTS = 1_000_000  # that tables and polygons hold; no image of object numbers is made of so many

Rows = Callable[[int, int], np.ndarray]  # first row, the one after the last -> values h,W


@dataclass
class _Found:
    """What was found in the windows so far."""

    columns: list[dict[str, np.ndarray]] = field(default_factory=list)
    outlines: list[polygons.Outline] = field(default_factory=list)
    firsts: list[np.ndarray] = field(default_factory=list)  # places of the objects' first pixels, in reading order
    cut: bool = False  # an object was too tall for a window
    count: int = 0


def measured_in_windows(
    name: str,
    ids: np.ndarray,
    classes: Sequence[dict[str, Any]],
    options: ObjectOptions,
    *,
    interior: Rows | None = None,
    confidence: Rows | None = None,
    size: PixelSize | None = None,
    geo: GeoReference | None = None,
    tick: Callable[[float], None] = lambda _: None,
) -> Document:
    """As measured.measured, of a mask (uint8 H,W) that may be a file's. Intensities are not measured, and there is no
    image of object numbers. `interior` and `confidence` give rows of what they are there. Raises TooManyObjects."""
    height, width = ids.shape
    step = max(1, int((ids.size / LOOK) ** 0.5))
    things = measured.things_of(np.ascontiguousarray(ids[::step, ::step]), classes, options)
    settings = measured.settings_of(options, things)
    names = {int(c["id"]): str(c["name"]) for c in classes}
    found = _Found()
    for top, labels, class_ids in _windows(ids, settings, interior, found, tick):
        _add(found, top, Objects(labels, class_ids), names, confidence, options, (height, width))
    columns, outlines = _in_order(found, names, options)
    class_ids = columns["class_id"].astype(np.uint8)
    nothing = np.broadcast_to(np.int32(0), (height, width))
    own = Objects(nothing, class_ids)
    if options.simplify > 0:
        outlines = polygons.simplified(outlines, options.simplify)
    return Document(
        name=name,
        objects=own,
        table=Table(columns, names, (height, width)),
        classes=list(classes),
        things=things,
        size=options.scale or size,
        geo=geo,
        tolerance=options.simplify,
        rows=table.per_image(ids, own, columns["area_px"], things, list(classes)),
        traced=outlines,
        cut_at=LARGEST // width if found.cut else 0,
    )


def _windows(
    ids: np.ndarray, settings: Settings, interior: Rows | None, found: _Found, tick: Callable[[float], None]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(first row, numbers h,W, class ids) of the objects that each window measures."""
    height, width = ids.shape
    step = max(4 * MARGIN, WINDOW // width)
    most = max(2 * step, LARGEST // width)
    top, bottom = 0, min(height, step)
    first = 0  # the image's first row, or the one below the latest cut: a part that begins there is no part's rest
    done = np.zeros((0, width), bool)  # from `top` on: pixels of parts that are measured already
    while True:
        here = None if interior is None else interior(top, bottom)
        parts, labels, codes = objects.parts_of(np.asarray(ids[top:bottom]), settings, here)
        count = int(parts.max(initial=0)) + 1
        passed = _among(count, parts[: len(done)][done])
        if top > first:
            passed |= _among(count, parts[0])
        waiting = np.zeros(count, bool)
        if bottom < height:
            waiting = _going_on(parts, count, settings.fill_holes) & ~passed
        lowest = _first_row(parts, waiting)
        cut = bool(waiting.any()) and bottom + step - (top + lowest - MARGIN) > most
        if cut:
            found.cut, waiting = True, np.zeros(count, bool)
        taken = ~passed & ~waiting
        taken[0] = False
        yield top, *_kept(np.where(taken[parts], labels, 0), codes, settings, top, height)
        tick(bottom / height)
        if bottom == height:
            return
        if cut:
            after = first = bottom
            done = np.zeros((0, width), bool)
        else:
            after = max(first, top + min(lowest, bottom - top - MARGIN) - MARGIN)
            passed[0] = False
            done = (taken | passed)[parts[max(0, after - top) :]]
        top, bottom = after, min(height, bottom + step)


def _among(count: int, numbers: np.ndarray) -> np.ndarray:
    """bool count: which numbers occur."""
    return np.bincount(numbers.ravel(), minlength=count)[:count] > 0


def _going_on(parts: np.ndarray, count: int, with_enclosed: bool) -> np.ndarray:
    """Which parts come so near to the window's end that they may go on below, or be split otherwise.

    `with_enclosed`: those in the box of such a one too; they may lie in a hole of it, which is seen when it is whole.
    """
    found = _among(count, parts[-MARGIN:])
    found[0] = False
    if with_enclosed:
        boxes = scipy.ndimage.find_objects(parts.astype(np.int32))
        for number in np.flatnonzero(found):
            found |= _among(count, parts[boxes[number - 1]])
        found[0] = False
    return found


def _first_row(parts: np.ndarray, chosen: np.ndarray) -> int:
    """The first row of any of these parts; the window's height where there is none."""
    rows = np.flatnonzero(chosen[parts].any(axis=1)) if chosen.any() else np.zeros(0, int)
    return int(rows[0]) if len(rows) else int(parts.shape[0])


def _kept(
    labels: np.ndarray, codes: np.ndarray, settings: Settings, top: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """The objects among these parts, as objects.numbered has them; the window's edges are not the image's."""
    found = objects.numbered(labels, codes, Settings(settings.things, settings.split, settings.min_area, KEEP))
    if settings.edges == DROP:
        lines = [found.labels[:, 0], found.labels[:, -1]]
        lines += [found.labels[0]] if top == 0 else []
        lines += [found.labels[-1]] if top + len(labels) == height else []
        found = objects.without(found, set(np.unique(np.concatenate(lines)).tolist()) - {0})
    return found.labels, found.class_ids


def _add(
    found: _Found,
    top: int,
    own: Objects,
    names: dict[int, str],
    confidence: Rows | None,
    options: ObjectOptions,
    size: tuple[int, int],
) -> None:
    """Measure the objects of a window and put them with the others, at their places in the whole image."""
    if not own.count:
        return
    found.count += own.count
    if found.count > MAX_OBJECTS:
        raise TooManyObjects(
            f"This image has more than {MAX_OBJECTS:,} objects. Raise the minimum area, or count fewer classes."
        )
    sure = None if confidence is None else lambda first, last: confidence(top + first, top + last)
    columns = table.measure(own, names, None, sure, options.more).columns
    for name in ("centroid_y_px", "bbox_y_min_px", "bbox_y_max_px"):
        columns[name] = columns[name] + top
    left, upper, right, lower = (columns[name] for name in table.BOX)
    columns["touches_edge"] = (left == 0) | (upper == 0) | (right == size[1]) | (lower == size[0])
    found.columns.append(columns)
    shift = np.array([0, top])
    found.outlines += [tuple(part.moved(shift) for part in outline) for outline in polygons.outlines(own)]
    rows = columns["bbox_y_min_px"].astype(np.int64)
    local = rows - top
    first = [int(np.argmax(own.labels[row] == k)) for k, row in enumerate(local.tolist(), 1)]
    found.firsts.append(rows * size[1] + np.array(first, np.int64))


def _in_order(
    found: _Found, names: dict[int, str], options: ObjectOptions
) -> tuple[dict[str, np.ndarray], list[polygons.Outline]]:
    """The columns of all windows and the outlines, numbered from the top left."""
    if not found.columns:
        nothing = Objects(np.zeros((1, 1), np.int32), np.zeros(0, np.uint8))
        return table.measure(nothing, names, None, None, options.more).columns, []
    order = np.argsort(np.concatenate(found.firsts), kind="stable")
    columns = {name: np.concatenate([some[name] for some in found.columns])[order] for name in found.columns[0]}
    columns["object"] = np.arange(1, found.count + 1)
    return columns, [found.outlines[place] for place in order]
