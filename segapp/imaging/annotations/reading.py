"""Annotation files of one post: which format each is in, and what all of them say together."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from segapp.imaging.annotations import coco, cvat, geojson, imagej, labelme, voc, yolo
from segapp.imaging.annotations.shapes import MAX_BYTES, Annotated, Label, Parsed, hex_color, load_json, text
from segapp.imaging.formats import CLASS_LISTS
from segapp.imaging.image_input import ImageInput, parse
from segapp.imaging.invalid_file import InvalidFile

KNOWN = "COCO, labelme, YOLO segmentation, CVAT for images, Pascal VOC, GeoJSON, ImageJ ROI"
BACKGROUNDS = {"background", "_background_", "__background__"}
MAX_ID = 254


class File(Protocol):
    """A file that came in: its name, and the folder it lay in."""

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> str: ...


@dataclass(frozen=True)
class Drawing:
    """What one annotation file says of one image; it pairs like a mask, by name and folder.

    origin: the annotation file. many: that file speaks of several images, some of which need not be here.
    """

    name: str
    folder: str
    annotated: Annotated
    origin: str
    many: bool


@dataclass
class Everything:
    """labels: of all files in order. colors: mask colour -> name, from labelmap.txt. values: mask value -> the row of
    classes.json that a download of images and masks has, image_input: the page and channels that it names. problems:
    files that cannot be read."""

    labels: list[Label] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    colors: dict[str, str] = field(default_factory=dict)
    values: dict[int, dict[str, Any]] = field(default_factory=dict)
    image_input: ImageInput = field(default_factory=ImageInput)
    notes: list[str] = field(default_factory=list)
    problems: list[InvalidFile] = field(default_factory=list)


def read(files: Iterable[tuple[File, bytes]]) -> Everything:
    """Reads all of them; what cannot be read is in `problems`, what cannot be used in `notes`."""
    found = Everything()
    sorted_files = sorted(files, key=lambda pair: (pair[0].folder, pair[0].name))
    yolo_labels = _yolo_labels(sorted_files, found)
    for file, content in sorted_files:
        try:
            if len(content) > MAX_BYTES:
                raise InvalidFile(file.name, f"It is over {MAX_BYTES // 10**6} MB.", "Export fewer images at a time.")
            parsed = _parsed(file.name, content, yolo_labels, found)
        except InvalidFile as refused:
            found.problems.append(refused)
            continue
        if parsed is None:
            continue
        found.notes += parsed.notes
        found.labels += parsed.labels
        many = len(parsed.images) > 1
        for annotated in parsed.images:
            folder = "/".join(part for part in (file.folder, annotated.folder) if part)
            found.drawings.append(Drawing(annotated.name, folder, annotated, file.name, many))
    found.drawings = _merged(found.drawings)
    return found


def numbered(labels: Iterable[Label], known: dict[str, int]) -> dict[str, int]:
    """Class ids by label: 0 for background, then 1 to n in the labels' order; `known` ones keep theirs."""
    ids = dict(known)
    free = max(known.values(), default=0)
    for label in labels:
        if label.name in ids:
            continue
        if label.name.lower() in BACKGROUNDS:
            ids[label.name] = 0
            continue
        free += 1
        if free <= MAX_ID:
            ids[label.name] = free
    return ids


def _yolo_labels(files: list[tuple[File, bytes]], found: Everything) -> list[Label]:
    for file, content in files:
        if file.name.lower().endswith((".yaml", ".yml")):
            try:
                if labels := yolo.names(content, file.name):
                    return labels
            except InvalidFile as refused:
                found.problems.append(refused)
    for file, content in files:
        if file.name.lower() in CLASS_LISTS:
            lines = content[: 10**6].decode("utf-8-sig", "replace").splitlines()
            return [Label(text(line)) for line in lines if line.strip()][:1000]
    return []


def _parsed(name: str, content: bytes, yolo_labels: list[Label], found: Everything) -> Parsed | None:
    """None for what says nothing of images. Raises InvalidFile."""
    suffix = name.lower().rsplit(".", 1)[-1]
    if suffix == "zip":
        return imagej.parse_zip(content, name)
    if suffix == "roi":
        return imagej.parse(content, name)
    if suffix == "xml":
        return cvat.parse(content, name)
    if suffix in ("yaml", "yml"):
        return None
    if suffix == "txt" or name.lower() in CLASS_LISTS:
        return _text(name, content, yolo_labels, found)
    data = load_json(content, name)
    if coco.is_coco(data):
        return coco.parse(data, name)
    if labelme.is_labelme(data):
        return labelme.parse(data, name)
    if geojson.is_geojson(data):
        return geojson.parse(data, name)
    if name.lower() == "classes.json" and isinstance(data, dict) and isinstance(data.get("classes"), list):
        found.values |= _values(data["classes"])
        found.image_input = _image_input(data.get("image_input"))
        return None
    return Parsed(notes=[f"{name} is in no known format and was not used. Known are {KNOWN}."])


def _text(name: str, content: bytes, yolo_labels: list[Label], found: Everything) -> Parsed | None:
    if name.lower() in CLASS_LISTS:
        return None
    if name.lower() == "labelmap.txt" or voc.is_labelmap(content):
        found.colors |= voc.names(content)
        return None
    if yolo.is_yolo(content):
        return yolo.parse(content, name, yolo_labels)
    return Parsed(notes=[f"{name} was not used: it holds no outlines."])


def _values(rows: list[Any]) -> dict[int, dict[str, Any]]:
    found = {}
    for row in rows[:256]:
        number = row.get("id") if isinstance(row, dict) else None
        if isinstance(number, int) and 0 <= number <= 255:
            color, things = hex_color(row.get("color", "")), bool(row.get("things"))
            found[number] = {"name": text(row.get("name")), "color": color, "things": things}
    return found


def _image_input(row: Any) -> ImageInput:
    """The page and channels of a classes.json; none where it names none, or is damaged."""
    try:
        chosen = ImageInput.from_dict(row)
        return replace(parse(",".join(map(str, chosen.channels)), chosen.page), made_for=chosen.made_for)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return ImageInput()


def _merged(drawings: list[Drawing]) -> list[Drawing]:
    """One drawing an image: shapes of the same name and folder are put together, groups kept apart."""
    by_name: dict[tuple[str, str], Drawing] = {}
    for drawing in drawings:
        key = (drawing.folder.casefold(), drawing.name.rsplit(".", 1)[0].casefold())
        first = by_name.setdefault(key, drawing)
        if first is not drawing:
            own = drawing.origin
            first.annotated.shapes += [
                replace(shape, group=f"{own} {shape.group}" if shape.group else "")
                for shape in drawing.annotated.shapes
            ]
    return list(by_name.values())
