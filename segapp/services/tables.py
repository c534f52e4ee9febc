"""Class areas as CSV, for people with spreadsheets."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Areas:
    """What was found on one image: classes [{id, name, pixels, percent}], and which model found it."""

    file: str
    mask: str
    classes: list[dict[str, Any]]
    model_key: str
    model_sha256: str


def plain(text: str) -> str:
    """Text that starts like a formula stays text in a spreadsheet."""
    return "'" + text if text[:1] in "=+-@\t\r" and text else text


def class_areas(images: Iterable[Areas]) -> str:
    """One row for each image and class."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(["file", "mask", "id", "name", "pixels", "percent", "model_key", "model_sha256"])
    for one in images:
        for found in one.classes:
            where, what = [plain(one.file), plain(one.mask)], [found["id"], plain(found["name"])]
            rows.writerow([*where, *what, found["pixels"], found["percent"], one.model_key, one.model_sha256])
    return out.getvalue()


def left_out(files: Iterable[tuple[str, str]]) -> str:
    """(file, what is wrong with it and what to do) of each file that has no result; "" when there is none."""
    out = io.StringIO()
    rows = csv.writer(out)
    for number, (file, message) in enumerate(files):
        if not number:
            rows.writerow(["file", "message"])
        rows.writerow([plain(file), plain(message)])
    return out.getvalue()
