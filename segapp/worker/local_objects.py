"""The objects of images from the command line: measured one after the other, written as tables and polygons."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.files import write_atomically
from registry.runtime import LoadedNetwork
from segapp.imaging.decode import Decoded
from segapp.imaging.image_input import ImageInput
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.object_formats import GEOJSON, INSTANCES, ObjectFormat
from segapp.imaging.object_options import ObjectOptions
from segapp.measurement import files
from segapp.measurement.document import Document, scales_note
from segapp.measurement.measured import measured
from segapp.pipeline.inference.predict import Prediction
from segapp.worker import measuring

ONCE = {"coco": "coco.json", "yolo": "yolo.zip", "csv": "objects.csv", "xlsx": "objects.xlsx", "classes": "classes.csv"}


@dataclass
class ObjectSink:
    """Measures each image that is added, and writes what was asked for.

    table: one file of all objects, a spreadsheet where its name ends in .xlsx. geojson: a folder for one file an image.
    export: a folder for `formats`.
    """

    options: ObjectOptions
    table: Path | None = None
    geojson: Path | None = None
    export: Path | None = None
    formats: Sequence[ObjectFormat] = ()
    done: list[Document] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)

    def add(
        self, file: Path, stem: str, decoded: Decoded, found: Prediction, network: LoadedNetwork, choice: ImageInput
    ) -> dict[str, Any]:
        """Measure one image, decoded with `choice`, write its own files, and return what the command says of it."""
        document = measured(
            file.name,
            found.ids,
            measuring.classes_of(network),
            self.options,
            interior=found.interior,
            confidence=found.confidence,
            intensity=measuring.intensity_of(decoded, file, choice),
            size=decoded.pixel_size,
            geo=decoded.place,
        )
        return self.write(stem, document)

    def hold_windowed(self, file: Path) -> None:
        """Raise InvalidFile where something is asked for that is not made of an image read in windows."""
        numbers = [one.key for one in self.formats if one.key in (INSTANCES.key, "instances_tiff")]
        if self.export is not None and numbers:
            raise InvalidFile(
                file.name,
                f"It is too large for {numbers[0]}: one image of all object numbers.",
                "Leave this format out of --formats; the tables and polygons hold every object.",
            )

    def write(self, stem: str, document: Document) -> dict[str, Any]:
        """Write one image's own files, keep it for those of all images, and return what the command says of it."""
        if self.geojson is not None:
            _write(self.geojson / f"{stem}{GEOJSON.ending}", files.content(GEOJSON.key, document))
        for one in self.formats:
            if self.export is not None and not one.many:
                _write(self.export / one.key / f"{stem}{one.ending}", files.content(one.key, document))
        drawn = any(one.key in ("coco", "yolo") for one in self.formats)
        self.done.append(document if drawn else document.for_tables())
        self.stems.append(stem)
        scale = document.size.describe() if document.size else None
        summary: dict[str, Any] = {"objects": document.counts, "things": list(document.things), "scale": scale}
        if document.cut_at:
            summary["notes"] = [f"Objects taller than about {document.cut_at:,} rows were cut, and count as several."]
        return summary

    def finish(self) -> None:
        """Write what holds all images."""
        if self.table is not None:
            key = "xlsx" if self.table.suffix.lower() == ".xlsx" else "csv"
            _write(self.table, files.content_of_many(key, self.done, self.stems))
        for one in self.formats:
            if self.export is not None and one.many:
                _write(self.export / ONCE[one.key], files.content_of_many(one.key, self.done, self.stems))

    @property
    def note(self) -> str:
        """What a person should know of the scales."""
        return scales_note([one.size for one in self.done])


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda out: out.write(content))
