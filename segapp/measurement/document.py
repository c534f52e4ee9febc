"""One image's objects with all that the exporters write of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from segapp.imaging.pixel_size import GeoReference, PixelSize
from segapp.measurement import polygons
from segapp.measurement.objects import Objects
from segapp.measurement.table import BOX, Table


@dataclass(frozen=True)
class Document:
    """name: the image's file name. classes: [{id, name, color}], of which `things` are counted. tolerance: pixels by
    which outlines may be simplified. traced: the outlines, where they are known already. cut_at: rows after which an
    object too tall for a window was cut; 0 where none was."""

    name: str
    objects: Objects
    table: Table
    classes: list[dict[str, Any]]
    things: tuple[int, ...]
    size: PixelSize | None = None
    geo: GeoReference | None = None
    tolerance: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    traced: list[polygons.Outline] | None = None
    cut_at: int = 0

    @property
    def stem(self) -> str:
        return self.name.rsplit(".", 1)[0] if "." in self.name else self.name

    @property
    def height(self) -> int:
        return int(self.objects.labels.shape[0])

    @property
    def width(self) -> int:
        return int(self.objects.labels.shape[1])

    def for_tables(self) -> "Document":
        """The same without the pixels, for tables of many images."""
        nothing = np.broadcast_to(np.int32(0), self.objects.labels.shape)
        return replace(self, objects=Objects(nothing, self.objects.class_ids))

    @property
    def counts(self) -> dict[str, int]:
        """How many objects each counted class has, by its id as JSON has keys."""
        return {str(k): count for k, count in self.objects.counts(self.things).items()}

    @cached_property
    def outlines(self) -> list[polygons.Outline]:
        return polygons.outlines(self.objects, self.tolerance) if self.traced is None else self.traced

    def box(self, number: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of an object in pixels; right and bottom are the first beyond it."""
        left, top, right, bottom = (int(self.table.columns[name][number - 1]) for name in BOX)
        return left, top, right, bottom

    def inside(self, number: int) -> np.ndarray:
        """bool h,w: where in its box an object is."""
        left, top, right, bottom = self.box(number)
        if self.traced is None:
            return np.asarray(self.objects.labels[top:bottom, left:right] == number)
        corner = np.array([left, top])
        moved = tuple(part.moved(-corner) for part in self.traced[number - 1])
        return polygons.filled(moved, (bottom - top, right - left))

    def class_of(self, number: int) -> dict[str, Any]:
        """The class row of an object, by its number."""
        k = int(self.objects.class_ids[number - 1])
        return next((c for c in self.classes if c["id"] == k), {"id": k, "name": str(k), "color": "#808080"})

    @property
    def counted(self) -> list[dict[str, Any]]:
        """The classes whose objects are counted, by id."""
        return sorted((c for c in self.classes if c["id"] in self.things), key=lambda c: int(c["id"]))


def scales_note(sizes: Sequence[PixelSize | None]) -> str:
    """What a person should know of the scales of several images in one table; "" when all are alike."""
    sides = {round(size.side, 6) if size else None for size in sizes}
    if len(sides) < 2:
        return ""
    if None in sides:
        without = sum(size is None for size in sizes)
        return f"{without} of {len(sizes)} images have no pixel size: their objects are measured in pixels only."
    return "The images have different pixel sizes: all are converted to one unit; pixel_size_um says each one's."


def plain_column(values: Any) -> list[Any]:
    """The same as `plain` of every value of a column, array or list, several times as fast."""
    array = np.asarray(values)
    if array.dtype.kind in "biu":
        return list(array.tolist())
    if array.dtype.kind != "f" or not (np.abs(array) < 1e6).all():  # other kinds, large numbers, and what is no number
        return [plain(value) for value in values]
    return [float(f"{value:.6g}") for value in array.tolist()]


def plain(value: Any) -> Any:
    """A table's value as JSON and spreadsheets take it: whole numbers whole, others with six figures at most, None for
    what is no number."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            return None
        return float(f"{float(value):.6g}") if abs(float(value)) < 1e6 else round(float(value), 2)
    return value
