"""Tables of objects and of classes as CSV, one header line and one line an object, no sums between or below."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from segapp.measurement.document import Document, plain, plain_column
from segapp.measurement.units import Unit, unit_of

BOM = "\ufeff"  # without it spreadsheets take µ and é for other letters

PER_CLASS = ("id", "class", "things", "pixels", "percent", "count", "object_area_px", "mean_area_px", "per_megapixel")


def text(value: str) -> str:
    """Text that starts like a formula stays text in a spreadsheet."""
    return "'" + value if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def object_rows(documents: Sequence[Document], named: bool) -> Iterator[list[Any]]:
    """The header, then one row an object of every image; `named`: with the image's file name first.

    All images share the columns: where only some have a pixel size, the others' lengths in the unit stay empty.
    """
    units = units_of(documents)
    columns = list(dict.fromkeys(name for d, u in zip(documents, units, strict=True) for name in _columns(d, u)))
    if any(units) and "pixel_size_um" in columns:
        columns = [*(name for name in columns if name != "pixel_size_um"), "pixel_size_um"]
    yield ["file", *columns] if named else columns
    for document, unit in zip(documents, units, strict=True):
        found = _columns(document, unit)
        empty = [""] * document.table.count
        own = [plain_column(found[name]) if name in found else empty for name in columns]
        for row in zip(*own, strict=True):
            yield [document.name, *row] if named else list(row)


def units_of(documents: Sequence[Document]) -> list[Unit | None]:
    """The unit of each image's pixel size, all under the first one's name: a column holds one unit."""
    name = next((document.size.unit for document in documents if document.size), "")
    return [unit_of(document.size, name) for document in documents]


def class_rows(documents: Sequence[Document], named: bool) -> Iterator[list[Any]]:
    """The header, then one row for each image and class: share, count, total, mean and density."""
    units = units_of(documents)
    shared = next((unit for unit in units if unit), None)
    header = list(PER_CLASS)
    if shared:
        header += [f"object_area_{shared.name}2", f"mean_area_{shared.name}2", f"per_{shared.name}2", "pixel_size_um"]
    yield ["file", *header] if named else header
    for document, unit in zip(documents, units, strict=True):
        for row in document.rows:
            cells = [row["id"], row["name"], row["things"], row["pixels"], row["percent"]]
            cells += [row.get(key, "") for key in PER_CLASS[5:]]
            if shared:
                cells += _in_unit(row, unit, document)
            cells = [plain(cell) for cell in cells]
            yield [document.name, *cells] if named else cells


def csv_of(rows: Iterator[list[Any]]) -> bytes:
    """UTF-8 with a byte order mark."""
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rows:
        writer.writerow([text(cell) if isinstance(cell, str) else _cell(cell) for cell in row])
    return (BOM + out.getvalue()).encode()


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _columns(document: Document, unit: Unit | None) -> dict[str, Any]:
    found = document.table.columns_with(unit)
    if document.size is not None:
        found["pixel_size_um"] = [document.size.side] * document.table.count
    return found


def _in_unit(row: dict[str, Any], unit: Unit | None, document: Document) -> list[Any]:
    if unit is None or document.size is None:
        return ["", "", "", ""]
    if "count" not in row:
        return ["", "", "", document.size.side]
    image = document.width * document.height * unit.area
    total, mean = row["object_area_px"] * unit.area, row["mean_area_px"] * unit.area
    return [total, mean, row["count"] / image, document.size.side]
