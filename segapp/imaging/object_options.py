"""How objects are to be counted and measured, as people and programs ask for it. Both sides take it from here."""

import math
from dataclasses import dataclass, replace
from typing import Any

from segapp.imaging.pixel_size import PixelSize

AUTO, NONE = "auto", "none"
AUTO_STRENGTH = 0.65  # what AUTO splits with
KEEP, DROP, FILL = "keep", "drop", "fill"
MAX_MIN_AREA = 10**9
MAX_SIMPLIFY = 50.0
MAX_EDITS = 500
SOLIDITY, SKELETON = "solidity", "skeleton"  # measured only when asked for: they look at each object by itself
DELETE, MERGE = "delete", "merge"

SPLIT_WANTED = "Send auto, none, or a strength from 0 to 1, such as 0.65."
MIN_AREA_WANTED = "Send a whole number of pixels from 0, such as 20."
EDGES_WANTED = "Send keep or drop."
HOLES_WANTED = "Send keep or fill."
THINGS_WANTED = "Send class ids with commas between them, such as 1,2; auto leaves the choice to the model."
SIMPLIFY_WANTED = "Send a number of pixels from 0 to 50, such as 1."
MEASURES_WANTED = "Send solidity, skeleton, or both with a comma between them."
EDITS_WANTED = 'Send JSON such as [["delete", [[120, 44]]], ["merge", [[10, 12], [30, 14]]]], with a pixel x, y each.'

Edit = tuple[str, tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class ObjectOptions:
    """things: the class ids that are counted, None leaves it to the model and the mask. split: AUTO, NONE, or a
    strength from 0 to 1. min_area: pixels. edges: KEEP or DROP what the image's edge cuts. holes: KEEP or FILL. scale:
    typed by a person, which goes before the file's. simplify: pixels by which outlines may be simplified. more:
    SOLIDITY, SKELETON. edits: (DELETE or MERGE, pixels x, y in the objects meant), done one after the other."""

    things: tuple[int, ...] | None = None
    split: str | float = AUTO
    min_area: int = 0
    edges: str = KEEP
    holes: str = KEEP
    scale: PixelSize | None = None
    simplify: float = 0.0
    more: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As rows hold it: plain JSON values."""
        return {
            "things": None if self.things is None else list(self.things),
            "split": self.split,
            "min_area": self.min_area,
            "edges": self.edges,
            "holes": self.holes,
            "scale": self.scale.to_dict() if self.scale else None,
            "simplify": self.simplify,
            "more": list(self.more),
            "edits": [[what, [list(pixel) for pixel in pixels]] for what, pixels in self.edits],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ObjectOptions":
        things, scale = data.get("things"), data.get("scale")
        return cls(
            things=None if things is None else tuple(int(k) for k in things),
            split=data.get("split", AUTO),
            min_area=int(data.get("min_area", 0)),
            edges=str(data.get("edges", KEEP)),
            holes=str(data.get("holes", KEEP)),
            scale=PixelSize.from_dict(scale) if scale else None,
            simplify=float(data.get("simplify", 0.0)),
            more=tuple(data.get("more", ())),
            edits=tuple((what, tuple((int(x), int(y)) for x, y in pixels)) for what, pixels in data.get("edits", ())),
        )

    def with_scale(self, scale: PixelSize | None) -> "ObjectOptions":
        return replace(self, scale=scale)


# Each takes text as it was sent, "" for the default, and raises ValueError with what to send instead.


def parse_split(text: str) -> str | float:
    text = text.strip().lower()
    if text in ("", AUTO, NONE):
        return text or AUTO
    try:
        strength = float(text.replace(",", "."))
    except ValueError:
        strength = math.nan
    if not 0 <= strength <= 1:
        raise ValueError(f"“{text[:40]}” is no way to split. {SPLIT_WANTED}")
    return strength


def parse_min_area(text: str) -> int:
    text = text.strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_MIN_AREA):
        raise ValueError(f"“{text[:40]}” is no area. {MIN_AREA_WANTED}")
    return int(text)


def parse_edges(text: str) -> str:
    text = text.strip().lower()
    if text not in ("", KEEP, DROP):
        raise ValueError(f"“{text[:40]}” is not known. {EDGES_WANTED}")
    return text or KEEP


def parse_holes(text: str) -> str:
    text = text.strip().lower()
    if text not in ("", KEEP, FILL):
        raise ValueError(f"“{text[:40]}” is not known. {HOLES_WANTED}")
    return text or KEEP


def parse_things(text: str) -> tuple[int, ...] | None:
    """None where the choice is left to the model; () counts nothing (`none`)."""
    text = text.strip().lower()
    if text in ("", AUTO):
        return None
    if text == NONE:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) < 255 for part in parts):
        raise ValueError(f"“{text[:40]}” names no classes. {THINGS_WANTED}")
    return tuple(sorted({int(part) for part in parts}))


def parse_simplify(text: str) -> float:
    text = text.strip()
    if not text:
        return 0.0
    try:
        tolerance = float(text.replace(",", "."))
    except ValueError:
        tolerance = math.nan
    if not 0 <= tolerance <= MAX_SIMPLIFY:
        raise ValueError(f"“{text[:40]}” is no tolerance. {SIMPLIFY_WANTED}")
    return tolerance


def parse_more(text: str) -> tuple[str, ...]:
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    if not set(wanted) <= {SOLIDITY, SKELETON}:
        raise ValueError(f"“{text[:40]}” is not measured. {MEASURES_WANTED}")
    return tuple(name for name in (SOLIDITY, SKELETON) if name in wanted)


def edits_of(value: Any) -> tuple[Edit, ...]:
    """Edits from parsed JSON."""
    try:
        found = tuple((what, tuple((int(x), int(y)) for x, y in pixels)) for what, pixels in value)
    except (TypeError, ValueError):
        raise ValueError(EDITS_WANTED) from None
    if len(found) > MAX_EDITS:
        raise ValueError(f"These are more than {MAX_EDITS} corrections. Correct the mask itself instead.")
    if not all(what in (DELETE, MERGE) and 0 < len(pixels) <= MAX_EDITS for what, pixels in found):
        raise ValueError(EDITS_WANTED)
    return found
