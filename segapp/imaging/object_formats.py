"""The files that objects go out in: names, endings and what each is for. Plain data, for both sides and the pages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ObjectFormat:
    """key: in addresses and commands. label, purpose: for people. ending: of the file. many: one file holds several
    images. loses: what it cannot hold of the objects, "" nothing."""

    key: str
    label: str
    purpose: str
    ending: str
    media_type: str
    many: bool = False
    loses: str = ""


TEXT_TABLE = "text/csv; charset=utf-8"
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ZIP, JSON = "application/zip", "application/json"
PIECES = "holes, and which pieces are one object"
NUMBERS = "Object numbers"

CSV = ObjectFormat("csv", "Table (CSV)", "spreadsheets, statistics", ".csv", TEXT_TABLE, True, "shapes")
GEOJSON = ObjectFormat("geojson", "GeoJSON polygons", "QuPath, QGIS", ".geojson", "application/geo+json")
INSTANCES = ObjectFormat("instances", f"{NUMBERS} (PNG)", "CellProfiler, Python", ".png", "image/png", loses="classes")

OBJECT_FORMATS = (
    CSV,
    ObjectFormat("xlsx", "Tables (XLSX)", "Excel, LibreOffice", ".xlsx", SHEET, True, "shapes"),
    ObjectFormat("classes", "Table of classes (CSV)", "counts and areas", ".csv", TEXT_TABLE, True, "objects"),
    GEOJSON,
    ObjectFormat("coco", "COCO JSON", "CVAT, Label Studio, FiftyOne", ".json", JSON, True, "object numbers"),
    ObjectFormat("yolo", "YOLO segmentation", "Ultralytics", ".zip", ZIP, True, PIECES),
    ObjectFormat("labelme", "labelme JSON", "labelme, AnyLabeling", ".json", JSON),
    ObjectFormat("imagej", "ImageJ ROIs", "Fiji, ImageJ", ".zip", ZIP, loses="fractions of pixels"),
    INSTANCES,
    ObjectFormat("instances_tiff", f"{NUMBERS} (TIFF)", "Fiji, napari", ".tif", "image/tiff", loses="classes"),
)
BY_KEY = {one.key: one for one in OBJECT_FORMATS}
KEYS = tuple(BY_KEY)
WRITTEN_AT_ONCE = (CSV.key, GEOJSON.key, INSTANCES.key)  # the others on request


def named(key: str) -> ObjectFormat:
    """Raises KeyError for a format that there is not."""
    return BY_KEY[key]


def parse(text: str) -> tuple[ObjectFormat, ...]:
    """Formats by their keys with commas between them. Raises ValueError with what there is."""
    found = []
    for key in (part.strip().lower() for part in text.split(",")):
        if key not in BY_KEY:
            raise ValueError(f"There is no format “{key[:40]}”. Choose from {', '.join(KEYS)}.")
        found.append(BY_KEY[key])
    return tuple(dict.fromkeys(found))
