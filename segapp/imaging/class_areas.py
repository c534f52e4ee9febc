"""How much of an image each class covers, and tables of it: the same rows and the same CSV on both sides."""

import csv
from collections.abc import Iterable, Sequence
from typing import IO, Any

# One class of one mask, or of several together: {id, name, color, pixels, percent}, as rows and the API keep it.
ClassArea = dict[str, Any]


def class_areas(classes: Sequence[Any], pixels: Sequence[float], total: float) -> list[ClassArea]:
    """One row for each class (anything with id, name and color) that covers so many of `total` pixels."""
    return [
        {
            "id": one.id,
            "name": one.name,
            "color": one.color,
            "pixels": round(count),
            "percent": round(100.0 * float(count) / max(1, total), 2),
        }
        for one, count in zip(classes, pixels, strict=True)
    ]


def write_csv(out: IO[str], header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows of text and numbers, safe to open in a spreadsheet."""
    table = csv.writer(out)
    table.writerow([_plain(cell) for cell in header])
    for row in rows:
        table.writerow([_plain(cell) for cell in row])


def _plain(cell: Any) -> Any:
    """Text that starts like a formula stays text in a spreadsheet; numbers stay as they are."""
    return "'" + cell if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
