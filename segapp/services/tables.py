"""Class areas as CSV, for people with spreadsheets."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from segapp.imaging.class_areas import ClassArea, write_csv


@dataclass(frozen=True)
class Areas:
    """What was found on one image, and which model found it; `doubt` where it is known."""

    file: str
    mask: str
    classes: Sequence[ClassArea]
    model_key: str
    model_sha256: str
    doubt: float | None = None


def classes(rows: Iterable[ClassArea]) -> str:
    """One row for each class of one image."""
    columns = ("id", "name", "color", "pixels", "percent")
    return _text(columns, ([row[column] for column in columns] for row in rows))


def class_areas(images: Iterable[Areas], *, doubt: bool = False) -> str:
    """One row for each image and class, with a column for the image's doubt on request."""
    columns = ("file", "mask", "id", "name", "pixels", "percent", "model_key", "model_sha256")
    return _text(
        (*columns, "doubt") if doubt else columns,
        (
            [
                one.file,
                one.mask,
                *(row["id"], row["name"], row["pixels"], row["percent"]),
                one.model_key,
                one.model_sha256,
                *(["" if one.doubt is None else one.doubt] if doubt else []),
            ]
            for one in images
            for row in one.classes
        ),
    )


def left_out(files: Iterable[tuple[str, str]]) -> str:
    """(file, what is wrong with it and what to do) of each file that has no result; "" when there is none."""
    rows = list(files)
    return _text(("file", "message"), rows) if rows else ""


def _text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    write_csv(out, columns, rows)
    return out.getvalue()
