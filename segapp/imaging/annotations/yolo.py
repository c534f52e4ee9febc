"""YOLO segmentation text: a line an object, `class x1 y1 x2 y2 …` in shares of the image; names from data.yaml."""

from collections import Counter
from typing import Any

import numpy as np
import yaml

from segapp.imaging.annotations.shapes import (
    MAX_LABELS,
    Annotated,
    Budget,
    Label,
    Parsed,
    Shape,
    damaged,
    left_out,
    text,
)

MAX_YAML = 10**6  # bytes
MAX_LINES = 200_000


def names(content: bytes, name: str) -> list[Label]:
    """The classes that data.yaml lists. Raises InvalidFile."""
    if len(content) > MAX_YAML:
        raise damaged(name, "data.yaml")
    try:
        data = yaml.safe_load(content.decode("utf-8-sig"))
    except (yaml.YAMLError, ValueError, RecursionError):
        raise damaged(name, "data.yaml") from None
    listed: Any = data.get("names") if isinstance(data, dict) else None
    if isinstance(listed, dict):
        most = max((key for key in listed if isinstance(key, int)), default=-1)
        listed = [listed.get(k, str(k)) for k in range(min(most + 1, MAX_LABELS))]
    return (
        [Label(text(found) or str(k)) for k, found in enumerate(listed[:MAX_LABELS])]
        if isinstance(listed, list)
        else []
    )


def is_yolo(content: bytes) -> bool:
    """Whether the first line with something on it is numbers, as labels are. An empty file is an image without any."""
    first = next((line for line in content[:100_000].splitlines() if line.strip()), b"")
    try:
        return not first or (len([float(part) for part in first.split()]) >= 5 and first.split()[0].isdigit())
    except ValueError:
        return False


def parse(content: bytes, name: str, labels: list[Label]) -> Parsed:
    """Raises InvalidFile. `labels`: of data.yaml; classes beyond them are called by their number."""
    budget = Budget(name)
    image = Annotated(name.rsplit(".", 1)[0], relative=True)
    skipped: Counter[str] = Counter()
    lines = content.decode("utf-8-sig", "replace").splitlines()
    for line in lines[:MAX_LINES]:
        parts = line.split()
        if not parts:
            continue
        budget.spend(shapes=1, points=len(parts) // 2)
        if len(parts) == 5:
            skipped["boxes without an outline"] += 1
            continue
        try:
            values = np.array(parts, dtype=np.float64)
        except ValueError:
            values = np.array([])
        if len(values) < 7 or len(values) % 2 == 0 or not np.isfinite(values).all() or np.abs(values[1:]).max() > 2:
            skipped["lines that are no outline"] += 1
            continue
        kind = int(values[0])
        if not 0 <= kind < MAX_LABELS:
            skipped["lines of an impossible class"] += 1
            continue
        label = labels[kind].name if kind < len(labels) else str(kind)
        image.shapes.append(Shape(label, (values[1:].reshape(-1, 2),)))
    if len(lines) > MAX_LINES:
        skipped["lines too many"] = len(lines) - MAX_LINES
    found = labels or [Label(str(k)) for k in sorted({int(shape.label) for shape in image.shapes})]
    return Parsed(found, [image], left_out(skipped, name))
