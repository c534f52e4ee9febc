"""YOLO segmentation: a text file an image, a line an outline, and the classes' names in data.yaml.

The format has neither holes nor objects of several pieces: holes are left out, a piece is a line of its own.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from segapp.measurement.document import Document

LOST = "Holes are filled and the pieces of one object are separate lines, because YOLO's format has neither."


def members(
    documents: Iterable[Document], stems: Iterable[str], classes: dict[int, str]
) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of the zip; one document at a time is held.

    `stems` name the images' files; `classes`: the names, by id, of all that is counted on any image.
    """
    order, lost = sorted(classes), False
    for document, stem in zip(documents, stems, strict=True):
        lost = lost or any(len(outline) > 1 or part.holes for outline in document.outlines for part in outline)
        yield f"labels/{stem}.txt", _lines(document, order).encode()
    names = "".join(f"  {place}: {json.dumps(classes[k], ensure_ascii=False)}\n" for place, k in enumerate(order))
    remark = f"# {LOST}\n" if lost else ""
    yield "data.yaml", f"{remark}path: .\ntrain: images\nval: images\nnames:\n{names}".encode()


def classes_of(documents: Sequence[Document]) -> dict[int, str]:
    """The names, by id, of all that is counted on any image."""
    return {int(c["id"]): str(c["name"]) for document in documents for c in document.counted}


def _lines(document: Document, order: list[int]) -> str:
    lines = []
    for place, outline in enumerate(document.outlines):
        index = order.index(int(document.objects.class_ids[place]))
        for part in outline:
            points = part.outer / (document.width, document.height)
            lines.append(f"{index} " + " ".join(f"{value:.8g}" for value in points.ravel()))
    return "".join(line + "\n" for line in lines)
