"""YOLO segmentation: a text file an image, a line an outline, and the classes' names in data.yaml.

The format knows neither holes nor objects of several pieces: holes are left out, a piece is a line of its own.
"""

import json
from collections.abc import Iterator, Sequence

from segapp.measurement.document import Document

LOST = "Holes are filled and the pieces of one object are separate lines, because YOLO's format has neither."


def members(documents: Sequence[Document], stems: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of the zip; `stems` name the images' files."""
    classes = {int(c["id"]): str(c["name"]) for document in documents for c in document.counted}
    order = sorted(classes)
    names = "".join(f"  {place}: {json.dumps(classes[k], ensure_ascii=False)}\n" for place, k in enumerate(order))
    lost = any(len(o) > 1 or part.holes for document in documents for o in document.outlines for part in o)
    remark = f"# {LOST}\n" if lost else ""
    yield "data.yaml", f"{remark}path: .\ntrain: images\nval: images\nnames:\n{names}".encode()
    for document, stem in zip(documents, stems, strict=True):
        yield f"labels/{stem}.txt", _lines(document, order).encode()


def _lines(document: Document, order: list[int]) -> str:
    lines = []
    for place, outline in enumerate(document.outlines):
        index = order.index(int(document.objects.class_ids[place]))
        for part in outline:
            points = part.outer / (document.width, document.height)
            lines.append(f"{index} " + " ".join(f"{value:.8g}" for value in points.ravel()))
    return "".join(line + "\n" for line in lines)
