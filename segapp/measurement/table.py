"""What is measured of objects: one column an array, one place in it an object. docs/measurements.md has the formulas.

Sums run over bands of rows, so memory is the labels' own and a band's. Names and meanings are scikit-image's where it
has them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import scipy  # its parts are loaded where they are first used
from skimage.measure import regionprops
from skimage.morphology import skeletonize

from segapp.imaging.object_options import SKELETON, SOLIDITY
from segapp.measurement.objects import Objects, touches_edge
from segapp.measurement.runs import Runs, runs
from segapp.measurement.units import Unit

BAND = 1 << 20  # pixels of a band of rows
STRAIGHT = 0.75  # pixels that a straightened outline may be from the pixels' middles
LAST = 5  # pixels of a skeleton that give its direction


Confidence = Callable[[int, int], np.ndarray]  # rows from, to -> uint8 h,W, 255 is certain


@dataclass
class Table:
    """columns: name -> array of n values, in the order they are written; `object` and `class_id` come first.

    Lengths and areas are in pixels here; `columns_with` adds those in a unit. names: class id -> name.
    """

    columns: dict[str, np.ndarray]
    names: dict[int, str]
    size: tuple[int, int]
    areas: dict[int, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.columns["object"])

    def columns_with(self, unit: Unit | None) -> dict[str, Any]:
        """All columns as they go into a file: class names after their ids, each length also in the unit."""
        written: dict[str, Any] = {}
        for name, values in self.columns.items():
            written[name] = values
            if name == "class_id":
                written["class"] = [self.names.get(int(k), str(k)) for k in values]
            if unit and name in AREAS:
                written[f"{name.removesuffix('_px')}_{unit.name}2"] = values * unit.area
            elif unit and name in LENGTHS:
                written[f"{name.removesuffix('_px')}_{unit.name}"] = values * unit.length
        return written


AREAS = ("area_px",)
LENGTHS = (
    *("equivalent_diameter_px", "axis_major_length_px", "axis_minor_length_px", "perimeter_px"),
    *("skeleton_length_px", "mean_width_px"),
)


def measure(
    objects: Objects,
    names: dict[int, str],
    intensity: np.ndarray | None = None,
    confidence: Confidence | None = None,
    more: tuple[str, ...] = (),
) -> Table:
    """Measure every object.

    intensity: H,W or H,W,C of any depth, measured as it is. more: SOLIDITY, SKELETON, which take a look at each object
    by itself. names: class id -> name.
    """
    sums = _sums(objects, intensity, confidence)
    area = sums["area"]
    x, y = sums["x"] / area, sums["y"] / area  # from the object's first pixel
    xx, yy = sums["xx"] / area - x * x, sums["yy"] / area - y * y
    xy = sums["xy"] / area - x * y
    major, minor = _axes(xx, yy, xy)
    boxes = _boxes(objects)
    perimeter = _perimeters(objects, boxes)
    columns: dict[str, np.ndarray] = {
        "object": np.arange(1, objects.count + 1),
        "class_id": objects.class_ids.astype(np.int64),
        "area_px": area.astype(np.int64),
        "equivalent_diameter_px": np.sqrt(4 * area / np.pi),
        "axis_major_length_px": major,
        "axis_minor_length_px": minor,
        "perimeter_px": perimeter,
        "circularity": np.minimum(1.0, 4 * np.pi * area / perimeter**2),
        "eccentricity": np.where(major > 0, np.sqrt(np.clip(1 - (minor / np.maximum(major, 1e-12)) ** 2, 0, 1)), 0.0),
        "orientation_deg": _orientation(xx, yy, xy),
        "centroid_x_px": sums["first_x"] + x,
        "centroid_y_px": sums["first_y"] + y,
        **{name: boxes[:, place] for place, name in enumerate(BOX)},
        "touches_edge": touches_edge(objects),
    }
    if SOLIDITY in more:
        columns["solidity"] = _solidity(objects, boxes)
    if SKELETON in more:
        columns["skeleton_length_px"], columns["mean_width_px"] = _skeletons(objects, boxes, area)
    for name in (name for name in sums if name.startswith(("mean_", "std_"))):
        columns[name] = sums[name]
    return Table(columns, names, (objects.labels.shape[0], objects.labels.shape[1]))


BOX = ("bbox_x_min_px", "bbox_y_min_px", "bbox_x_max_px", "bbox_y_max_px")  # the last column and row are outside


def per_image(
    ids: np.ndarray, objects: Objects, areas: np.ndarray, things: tuple[int, ...], classes: list[dict[str, Any]]
) -> list[dict]:
    """One row a class: id, name, color, things, pixels, percent; and of things count, total, mean and density.

    areas: int n, pixels of each object. object_area_px is what the counted objects cover, mean_area_px one of them on
    average, per_megapixel their density.
    """
    covered = np.zeros(256, np.int64)
    for top, bottom in _bands(*ids.shape):
        covered += np.bincount(ids[top:bottom].ravel(), minlength=256)
    rows = []
    for found in classes:
        k = int(found["id"])
        row = {"id": k, "name": found["name"], "color": found.get("color", ""), "things": k in things}
        row |= {"pixels": int(covered[k]), "percent": round(100.0 * int(covered[k]) / max(1, ids.size), 2)}
        if k in things:
            own = areas[objects.class_ids == k]
            total = int(own.sum())
            row |= {"count": len(own), "object_area_px": total}
            row |= {"mean_area_px": round(total / len(own), 2) if len(own) else 0.0}
            row |= {"per_megapixel": round(len(own) * 1e6 / max(1, ids.size), 3)}
        rows.append(row)
    return rows


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(1, BAND // max(1, width))
    for top in range(0, height, rows):
        yield top, min(height, top + rows)


def _sums(objects: Objects, intensity: np.ndarray | None, confidence: Confidence | None) -> dict[str, np.ndarray]:
    """Per object: area, sums of x, y and their products, and mean and spread of what is looked at through it."""
    labels, n = objects.labels, objects.count + 1
    height, width = labels.shape
    planes = [] if intensity is None else [intensity] if intensity.ndim == 2 else list(np.moveaxis(intensity, 2, 0))
    found = _moments(runs(labels), objects.count)
    looked = [np.zeros((3, n)) for _ in planes]  # how many values, their sum, the sum of their squares
    sure = np.zeros(n)
    for top, bottom in _bands(height, width) if planes or confidence is not None else ():
        band = labels[top:bottom].ravel()
        places = np.flatnonzero(band)
        if not places.size:
            continue
        numbers = band[places]
        least = int(numbers.min())
        short = numbers - least  # objects of a band have neighbouring numbers, so its sums stay short
        most = int(short.max()) + 1
        span = slice(least, least + most)
        for plane, own in zip(planes, looked, strict=True):
            values, of = plane[top:bottom].ravel()[places].astype(np.float64), short
            if plane.dtype.kind == "f" and not (known := np.isfinite(values)).all():
                values, of = values[known], short[known]
            own[0][span] += np.bincount(of, minlength=most)
            own[1][span] += np.bincount(of, values, most)
            own[2][span] += np.bincount(of, values * values, most)
        if confidence is not None:
            sure[span] += np.bincount(short, confidence(top, bottom).ravel()[places], most)
    area = np.maximum(found["area"], 1)
    for number, own in enumerate(looked):
        count = np.where(own[0][1:] > 0, own[0][1:], np.nan)  # an object of missing pixels has no intensity
        mean = own[1][1:] / count
        label = "intensity" if len(planes) == 1 else f"intensity_{number + 1}"
        found[f"mean_{label}"] = mean
        found[f"std_{label}"] = np.sqrt(np.maximum(0, own[2][1:] / count - mean * mean))
    if confidence is not None:
        found["mean_confidence"] = sure[1:] / area / 255.0
    return found


def _moments(of: Runs, count: int) -> dict[str, np.ndarray]:
    """Per object its area, its first pixel, and the sums of x, y and their products, from that pixel on, so that no
    figure depends on where an object lies. Run by run: n columns from x on sum up to n x + n(n-1)/2, their squares to
    n x² + x n(n-1) + n(n-1)(2n-1)/6."""
    first_y, first_x = np.divmod(of.first_pixels(count), of.width)
    n = of.lengths.astype(np.float64)
    x, y = (of.firsts - first_x[of.numbers]).astype(np.float64), (of.rows - first_y[of.numbers]).astype(np.float64)
    more = n * (n - 1)
    along = n * x + more / 2
    weights = {
        "area": n,
        "x": along,
        "y": n * y,
        "xx": n * x * x + x * more + more * (2 * n - 1) / 6,
        "yy": n * y * y,
        "xy": along * y,
    }
    found = {name: of.sums(count, values)[1:] for name, values in weights.items()}
    return {**found, "first_x": first_x[1:], "first_y": first_y[1:]}


def _axes(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Major and minor axis of the ellipse with the same second moments."""
    middle, apart = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    return 4 * np.sqrt(np.maximum(0, middle + apart)), 4 * np.sqrt(np.maximum(0, middle - apart))


def _orientation(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Degrees from the rows' axis (downwards) to the major axis, -90 to 90, counter-clockwise: scikit-image's."""
    even = np.isclose(xx, yy, rtol=0, atol=1e-9)
    angle = 0.5 * np.arctan2(2 * xy, yy - xx)
    diagonal = np.where(xy > 0, np.pi / 4, -np.pi / 4)
    return np.degrees(np.where(even, np.where(np.abs(xy) < 1e-9, np.pi / 4, diagonal), angle))


def _boxes(objects: Objects) -> np.ndarray:
    """int64 n,4: see BOX."""
    found = scipy.ndimage.find_objects(objects.labels, objects.count)
    boxes = [(b[1].start, b[0].start, b[1].stop, b[0].stop) for b in found]
    return np.array(boxes, np.int64).reshape(-1, 4)


def crops(objects: Objects, boxes: np.ndarray) -> Iterator[np.ndarray]:
    """bool h,w of each object's box, where the object is."""
    for number, (left, top, right, bottom) in enumerate(boxes, 1):
        yield objects.labels[top:bottom, left:right] == number


def _perimeters(objects: Objects, boxes: np.ndarray) -> np.ndarray:
    """The outlines' length, holes' too: straightened through the pixels' middles, then moved out by half a pixel."""
    found = np.zeros(objects.count)
    for number, inside in enumerate(crops(objects, boxes)):
        outlines, tree = cv2.findContours(inside.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        for outline, links in zip(outlines, np.asarray(tree)[0], strict=True):
            length = cv2.arcLength(cv2.approxPolyDP(outline, STRAIGHT, True), True)
            # A parallel curve half a pixel outside is longer by half a circle's π, one inside a hole shorter by it.
            found[number] += max(1.0, length + np.pi if links[3] < 0 else length - np.pi)
    return found


def _solidity(objects: Objects, boxes: np.ndarray) -> np.ndarray:
    """Area over that of the convex hull, as scikit-image counts it."""
    found = np.ones(objects.count)
    for number, inside in enumerate(crops(objects, boxes)):
        if min(inside.shape) > 1:  # the hull of a straight line is the line
            found[number] = regionprops(inside.view(np.uint8))[0].solidity
    return found


def _skeletons(objects: Objects, boxes: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length along the middle, to the object's very ends, and area over it: for cracks, vessels, roots."""
    lengths = np.array([_length(np.pad(inside, 1)) for inside in crops(objects, boxes)]).reshape(-1)
    lengths = np.maximum(lengths, 1.0)
    return lengths, area / lengths


def _length(inside: np.ndarray) -> float:
    """Pixels. The skeleton loses side branches shorter than the object is wide, which run into corners only; its ends
    then go straight on to the outline."""
    skeleton = skeletonize(inside).view(np.uint8)
    reach = cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    pruned = skeleton
    for _ in range(int(np.ceil(reach.max() * 1.5)) if reach.max() > 1 else 0):
        pruned = np.where((pruned > 0) & (_neighbours(pruned) <= 1), np.uint8(0), pruned)
    if np.count_nonzero(pruned) < 2:  # rounder than long
        both = np.argwhere(inside)
        return float(max(np.ptp(both @ (np.cos(t), np.sin(t))) for t in np.arange(0, np.pi, np.pi / 12))) + 1.0
    lines, _ = cv2.findContours(pruned, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    there_and_back = sum(cv2.arcLength(cv2.approxPolyDP(line, STRAIGHT, True), True) for line in lines)
    places = np.argwhere(pruned)
    ends = np.argwhere((pruned > 0) & (_neighbours(pruned) == 1))
    return there_and_back / 2 + sum(_beyond(inside, end, places) for end in ends)


def _neighbours(skeleton: np.ndarray) -> np.ndarray:
    """How many of its eight neighbours each pixel of a skeleton has."""
    return cv2.filter2D(skeleton, cv2.CV_8U, np.ones((3, 3)), borderType=cv2.BORDER_CONSTANT) - skeleton


def _beyond(inside: np.ndarray, end: np.ndarray, places: np.ndarray) -> float:
    """How far an object goes on from the end of its skeleton, in the direction of the skeleton's last pixels."""
    back = places[np.abs(places - end).max(axis=1) <= LAST] - end
    direction = -back.mean(axis=0)
    size = float(np.hypot(*direction))
    if size == 0:
        return 0.5
    steps = np.arange(0.0, float(sum(inside.shape)), 0.25)
    rows, columns = np.rint(end[:, None] + direction[:, None] / size * steps).astype(int)
    within = (rows >= 0) & (columns >= 0) & (rows < inside.shape[0]) & (columns < inside.shape[1])
    hit = np.zeros(len(steps), bool)
    hit[within] = inside[rows[within], columns[within]]
    return float(steps[np.argmin(hit)]) if not hit.all() else 0.5
