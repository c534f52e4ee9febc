"""CVAT for images XML: polygons, boxes, ellipses and masks, with the project's labels and colours."""

from collections import Counter
from xml.etree.ElementTree import Element, ParseError

from segapp.imaging.annotations import rle
from segapp.imaging.annotations.shapes import (
    Annotated,
    Budget,
    Label,
    Parsed,
    Shape,
    box,
    ellipse,
    hex_color,
    left_out,
    named,
    number,
    ring,
    size,
    split_path,
    text,
)
from segapp.imaging.invalid_file import InvalidFile

USED = ("polygon", "box", "mask", "ellipse")


def parse(content: bytes, name: str) -> Parsed:
    """Raises InvalidFile, also for XML with entities or outside references."""
    # Here, since the web process starts without it and few uploads need it.
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise InvalidFile(
            name, "This XML holds a document type or entities.", "Export it again without them."
        ) from None
    except (ParseError, ValueError, RecursionError):
        raise InvalidFile(name, "This is no XML, or it is cut off.", "Export it again.") from None
    if root.tag == "annotation":
        return Parsed(notes=[f"{name} was not used: an XML of Pascal VOC holds boxes, no outlines."])
    if root.tag != "annotations":
        raise InvalidFile(name, "This is no “CVAT for images” XML.", "Export the task in that format.")
    budget = Budget(name)
    colors = {text(row.findtext("name")): hex_color(row.findtext("color") or "") for row in root.iter("label")}
    images, skipped = [], Counter[str]()
    if root.find("track") is not None:
        skipped["tracks of a video"] = len(root.findall("track"))
    for row in root.iter("image"):
        file_name, folder = split_path(row.get("name"))
        image = Annotated(file_name, folder, size(row.get("width")), size(row.get("height")))
        for part in sorted(row, key=lambda part: number(part.get("z_order")) or 0):
            budget.spend(shapes=1)
            label, group = text(part.get("label")), part.get("group_id") or "0"
            found = _rings(part, budget) if part.tag in USED else None
            if found is None or not label:
                skipped[f"shapes of the kind “{text(part.tag)}”" if part.tag not in USED else "damaged shapes"] += 1
                continue
            key = "" if group == "0" else f"{label} {text(group)}"
            bitmap, left, top, rings = found
            image.shapes.append(Shape(label, rings, bitmap, left, top, key))
        images.append(image)
    used = [label for label in colors if label] + [shape.label for image in images for shape in image.shapes]
    labels = [Label(label.name, colors.get(label.name, "")) for label in named(used, name)]
    return Parsed(labels, images, left_out(skipped, name))


def _rings(part: Element, budget: Budget) -> tuple | None:
    """(bitmap or None, left, top, rings) of one shape; None for what is damaged."""
    if part.tag == "polygon":
        points = [pair.split(",") for pair in (part.get("points") or "").split(";")]
        found = ring(points, budget) if all(len(pair) == 2 for pair in points) else None
        return None if found is None else (None, 0, 0, (found,))
    if part.tag == "box":
        corners = [number(part.get(key)) for key in ("xtl", "ytl", "xbr", "ybr")]
        if None in corners:
            return None
        left, top, right, bottom = (value or 0.0 for value in corners)
        return None, 0, 0, (box(left, top, right - left, bottom - top),)
    if part.tag == "ellipse":
        values = [number(part.get(key)) for key in ("cx", "cy", "rx", "ry")]
        if None in values:
            return None
        x, y, across, down = (value or 0.0 for value in values)
        return None, 0, 0, (ellipse(x, y, across, down, number(part.get("rotation")) or 0.0),)
    runs = (part.get("rle") or "").split(",")
    budget.spend(points=len(runs))
    try:
        counts = [int(run) for run in runs]
        bitmap = rle.rows(counts, size(part.get("height")), size(part.get("width")))
        return None if bitmap is None else (bitmap, int(part.get("left", "")), int(part.get("top", "")), ())
    except ValueError:
        return None
