"""Images and masks of a training set as a zip that comes back unchanged when it is uploaded again.

images/NAME.png       the image; a TIFF or deep PNG with every page, channel and bit where its file held more
masks/NAME.png        class ids, 255 is ignored
instances/NAME.png    object numbers, 16 bits, where they are known
classes.json          {classes: [{id, name, color, things}], image_input: {page, channels}}
annotations.json      the same masks as COCO run lengths, for other tools
"""

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from segapp.imaging import memory, palette
from segapp.imaging.annotations import rle
from segapp.imaging.class_mapping import ClassMapping
from segapp.imaging.numbering import IGNORE
from segapp.models import Example
from segapp.services import example_files, intake
from segapp.services.zips import Member


def members(examples: Sequence[Example], mapping: ClassMapping) -> Iterator[Member]:
    """The zip's members, one image at a time in memory. Raises InvalidFile when files of an example are gone."""
    annotations: list[dict[str, Any]] = []
    images = []
    for number, example in enumerate(examples, 1):
        with memory.decoding.hold(memory.MASKED * example.width * example.height):
            found, more = _members_of(example, mapping, number, len(annotations))
        yield from found  # encoded: nothing is held while a slow client takes it
        name = found[0][0].removeprefix("images/")
        images.append({"id": number, "file_name": name, "width": example.width, "height": example.height})
        annotations += more
    rows = [{key: row[key] for key in ("id", "name", "color", "things")} for row in _kept(mapping)]
    listed = {"classes": rows, "image_input": intake.input_of(examples).to_dict()}
    yield "classes.json", _json(listed)
    categories = [{"id": row["id"], "name": row["name"], "color": row["color"]} for row in rows if row["id"]]
    yield "annotations.json", _json({"images": images, "categories": categories, "annotations": annotations})


def _members_of(
    example: Example, mapping: ClassMapping, number: int, before: int
) -> tuple[list[Member], list[dict[str, Any]]]:
    """One image's members, the image first, and its annotations, numbered on from `before`."""
    ids, objects = example_files.ids_of(example, mapping), example_files.instances_of(example, mapping)
    name, content = _image(example)
    found: list[Member] = [(f"images/{name}", content), (f"masks/{example.stem}.png", _mask(ids, mapping.classes))]
    if objects.any():
        found.append((f"instances/{example.stem}.png", _png(Image.fromarray(objects))))
    return found, _annotations(ids, objects, number, before)


def _kept(mapping: ClassMapping) -> list[dict[str, Any]]:
    return [{"things": False, **row} for row in mapping.classes if not row["ignore"] and row["id"] != IGNORE]


def _image(example: Example) -> Member:
    """The image's file name and content."""
    example_files.ensure_local(example)
    original = example_files.original_of(example)
    if original is not None:
        return f"{example.stem}{original.suffix}", original
    if example.image_path.suffix == ".png" and _channels(example) != 1:
        return f"{example.stem}.png", example.image_path
    image = Image.fromarray(example_files.image_of(example))
    return f"{example.stem}.png", _png(image.convert("L") if _channels(example) == 1 else image)


def _channels(example: Example) -> int:
    """Channels of the file that the image came from."""
    layout = example.image_input.get("layout") or [1, 3]
    return int(layout[1])


def _mask(ids: np.ndarray, classes: Sequence[dict[str, Any]]) -> bytes:
    image = Image.fromarray(ids)
    colours = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    for row in classes:
        colours[row["id"]] = palette.rgb(row["color"])
    image.putpalette(colours.tobytes())
    return _png(image)


def _annotations(ids: np.ndarray, objects: np.ndarray, image: int, before: int) -> list[dict[str, Any]]:
    """One COCO annotation for each object, and for each class where there are no object numbers."""
    found: list[dict[str, Any]] = []
    for class_id in np.unique(ids[(ids > 0) & (ids != IGNORE)]).tolist():
        own = ids == class_id
        numbers = np.unique(objects[own & (objects > 0)]).tolist()
        parts = [own & (objects == number) for number in numbers]
        if (rest := own & (objects == 0)).any():
            parts.append(rest)
        for part in parts:
            rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
            box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
            counts = {"size": list(ids.shape), "counts": rle.counts_of(part)}
            found.append(
                {
                    "id": before + len(found) + 1,
                    "image_id": image,
                    "category_id": class_id,
                    "segmentation": counts,
                    "area": int(part.sum()),
                    "bbox": [int(value) for value in box],
                    "iscrowd": 0,
                }
            )
    return found


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()
