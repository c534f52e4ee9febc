"""What all annotation formats are read into: labels, and for each image its shapes in pixels. And the limits."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segapp.imaging.invalid_file import InvalidFile

MAX_BYTES = 100 * 10**6  # of one annotation file
MAX_SHAPES = 200_000  # in one file
MAX_POINTS = 10_000_000  # in one file
MAX_SIDE = 200_000  # pixels: points further out are no points
MAX_PLACE = 10**8  # of map coordinates
MAX_LABELS = 1000  # in one file; the contract's limit on classes is for those that occur
MAX_NAME_LENGTH = 200


@dataclass(frozen=True)
class Label:
    """A class as the file names it. color: "#rrggbb" or ""."""

    name: str
    color: str = ""


@dataclass(frozen=True)
class Shape:
    """One object, or a part of one: the parts of an object share their `group`.

    rings: float64 (N, 2) of x, y; what lies in an odd number of them is inside. bitmap: bool (h, w) at (left, top)
    instead. counted: it is one object; a crowd is not.
    """

    label: str
    rings: tuple[np.ndarray, ...] = ()
    bitmap: np.ndarray | None = None
    left: int = 0
    top: int = 0
    group: str = ""
    counted: bool = True


@dataclass
class Annotated:
    """name: the image's file name, without folders, or its stem; folder: where the file says it lies. width, height:
    as annotated, 0 where the file does not say. relative: points are shares of width and height. epsg: number of the
    map's system that points are coordinates in, 0 for pixels."""

    name: str
    folder: str = ""
    width: int = 0
    height: int = 0
    relative: bool = False
    epsg: int = 0
    shapes: list[Shape] = field(default_factory=list)


@dataclass
class Parsed:
    """labels in the file's order. images: those it speaks of. notes: what of it cannot be used, in words."""

    labels: list[Label] = field(default_factory=list)
    images: list[Annotated] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Budget:
    """Counts shapes and points of one file, and refuses it when they are too many."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.shapes = self.points = 0

    def spend(self, shapes: int = 0, points: int = 0) -> None:
        """Raises InvalidFile."""
        self.shapes += shapes
        self.points += points
        if self.shapes > MAX_SHAPES or self.points > MAX_POINTS:
            words = f"It holds more than {MAX_SHAPES:,} shapes or {MAX_POINTS:,} points."
            raise InvalidFile(self.name, words, "Export fewer images at a time.")


def damaged(name: str, what: str) -> InvalidFile:
    return InvalidFile(name, f"This {what} is damaged or not what it seems.", "Export it again.")


def load_json(content: bytes, name: str) -> Any:
    """Raises InvalidFile for what is no JSON, is nested too deeply or holds numbers that are none."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise InvalidFile(name, "This is no JSON, or it is cut off.", "Export it again.") from None


def ring(points: Any, budget: Budget, most: float = MAX_SIDE) -> np.ndarray | None:
    """float64 (N, 2) from a flat list of coordinates or a list of pairs, up to `most`; None for what is no polygon.

    Raises InvalidFile for too many points.
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    if array.ndim == 1 and array.size % 2 == 0:
        array = array.reshape(-1, 2)
    if array.ndim != 2 or array.shape[1] < 2 or len(array) < 3:
        return None
    array = array[:, :2]
    budget.spend(points=len(array))
    if not np.isfinite(array).all() or np.abs(array).max() > most:
        return None
    return np.ascontiguousarray(array)


def box(left: float, top: float, width: float, height: float) -> np.ndarray:
    return np.array(
        [[left, top], [left + width, top], [left + width, top + height], [left, top + height]], dtype=np.float64
    )


def ellipse(x: float, y: float, across: float, down: float, degrees: float = 0.0) -> np.ndarray:
    """A polygon for an ellipse of two radii, turned clockwise."""
    steps = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    along, up = across * np.cos(steps), down * np.sin(steps)
    turn = math.radians(degrees)
    return np.stack(
        [x + along * math.cos(turn) - up * math.sin(turn), y + along * math.sin(turn) + up * math.cos(turn)], axis=1
    )


def number(value: Any, most: float = MAX_SIDE) -> float | None:
    """A finite number of at most `most`, or None."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and abs(found) <= most else None


def size(value: Any) -> int:
    """A width or height; 0 for none."""
    found = number(value)
    return int(found) if found and found > 0 else 0


def text(value: Any) -> str:
    """A name from a file: printable, not too long; "" for what is no name."""
    if not isinstance(value, str | int):
        return ""
    return "".join(letter for letter in str(value) if letter.isprintable()).strip()[:MAX_NAME_LENGTH]


def color(red: Any, green: Any, blue: Any) -> str:
    parts = [number(part, 255) for part in (red, green, blue)]
    return "" if None in parts else "#" + "".join(f"{int(abs(part or 0)):02x}" for part in parts)


def hex_color(value: Any) -> str:
    """ "#rrggbb" from such a text; "" for anything else."""
    found = str(value).lower()
    return found if len(found) == 7 and found[0] == "#" and not set(found[1:]) - set("0123456789abcdef") else ""


def split_path(value: Any) -> tuple[str, str]:
    """(name, folder) of a path that a file gives."""
    path = str(value).replace("\\", "/") if isinstance(value, str) else ""
    folder, _, name = path.rpartition("/")
    return text(name) or "unnamed", folder.strip("./")[:MAX_NAME_LENGTH]


def left_out(counts: dict[str, int], name: str) -> list[str]:
    """One sentence on what a file says that cannot be used; none when all could."""
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    return [f"Not used from {name}: {', '.join(parts)}."] if parts else []


def named(labels: Iterable[str], name: str) -> list[Label]:
    """Labels in their order, each once. Raises InvalidFile for too many."""
    found = list(dict.fromkeys(label for label in labels if label))
    if len(found) > MAX_LABELS:
        raise InvalidFile(name, f"It names {len(found)} classes.", f"At most {MAX_LABELS} are read from one file.")
    return [Label(label) for label in found]


def by_key(rows: Any, key: str) -> Sequence[dict[str, Any]]:
    """The dicts in a list that have this key; none for what is no list."""
    return [row for row in rows if isinstance(row, dict) and key in row] if isinstance(rows, list) else []
