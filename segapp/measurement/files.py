"""Objects as the content of a file of any format in imaging/object_formats.py."""

import io
import zipfile
from collections.abc import Iterable, Sequence
from typing import BinaryIO

from segapp.measurement.document import Document
from segapp.measurement.exporters import coco, geojson, imagej, instances, labelme, tables, xlsx, yolo

STABLE = (1980, 1, 1, 0, 0, 0)  # the same objects make the same zip


def content(key: str, document: Document) -> bytes:
    """One image's objects. Raises KeyError for a format that there is not."""
    match key:
        case "geojson":
            return geojson.geojson(document)
        case "labelme":
            return labelme.labelme(document)
        case "imagej":
            return _zip(imagej.members(document))
        case "instances":
            return instances.png(document.objects.labels)
        case "instances_tiff":
            return instances.tiff(document)
    return content_of_many(key, [document], [document.stem], named=False)


def content_of_many(key: str, documents: Sequence[Document], stems: Sequence[str], named: bool = True) -> bytes:
    """Several images' objects in one file, of a format that can hold them; `named`: with the images' names in tables.

    `stems` name the images in YOLO's zip. Raises KeyError for any other format.
    """
    match key:
        case "csv":
            return tables.csv_of(tables.object_rows(documents, named))
        case "classes":
            return tables.csv_of(tables.class_rows(documents, named))
        case "xlsx":
            return xlsx.workbook(documents, named)
    out = io.BytesIO()
    write_shapes(key, documents, stems, yolo.classes_of(documents), out)
    return out.getvalue()


def write_shapes(
    key: str, documents: Iterable[Document], stems: Iterable[str], classes: dict[int, str], out: BinaryIO
) -> None:
    """Write several images' outlines, of which one at a time is held, as `coco` or `yolo`.

    `classes`: the names, by id, of all that is counted on any image. Raises KeyError for any other format.
    """
    match key:
        case "coco":
            coco.write(documents, out)
        case "yolo":
            _write_zip(yolo.members(documents, stems, classes), out)
        case _:
            raise KeyError(key)


def _zip(members: Iterable[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    _write_zip(members, out)
    return out.getvalue()


def _write_zip(members: Iterable[tuple[str, bytes]], out: BinaryIO) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, STABLE), data, zipfile.ZIP_DEFLATED)
