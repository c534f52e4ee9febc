"""The tables of objects and of classes as one spreadsheet file. Text is written as text, never as a formula."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import xlsxwriter

from segapp.measurement.document import Document
from segapp.measurement.exporters.tables import class_rows, object_rows

MAX_ROWS = 1_048_576  # of a sheet, the header among them


def workbook(documents: Sequence[Document], named: bool) -> bytes:
    """Sheets “Objects” and “Classes”; more objects than a sheet holds go on in “Objects 2” and so on."""
    out = io.BytesIO()
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(out, options) as book:
        bold = book.add_format({"bold": True})
        _sheets(book, "Objects", object_rows(documents, named), bold)
        _sheets(book, "Classes", class_rows(documents, named), bold)
    return out.getvalue()


def _sheets(book: Any, title: str, rows: Iterator[list[Any]], bold: Any) -> None:
    header = next(rows)
    sheet, line, number = None, MAX_ROWS, 0
    for row in rows:
        if line >= MAX_ROWS:
            number += 1
            sheet, line = _begun(book, title if number == 1 else f"{title} {number}", header, bold), 1
        _write(sheet, line, row, None)
        line += 1
    if sheet is None:
        _begun(book, title, header, bold)


def _begun(book: Any, title: str, header: list[Any], bold: Any) -> Any:
    sheet = book.add_worksheet(title)
    sheet.freeze_panes(1, 0)
    sheet.set_column(0, len(header) - 1, 14)
    _write(sheet, 0, header, bold)
    return sheet


def _write(sheet: Any, line: int, row: list[Any], style: Any) -> None:
    for column, value in enumerate(row):
        if value == "" or value is None:
            continue
        if isinstance(value, bool):
            sheet.write_boolean(line, column, value, style)
        elif isinstance(value, int | float):
            sheet.write_number(line, column, value, style)
        else:
            sheet.write_string(line, column, str(value), style)
