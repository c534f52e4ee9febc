"""What a batch leaves: figures over all of it, the table of class areas, and the zip of everything."""

from collections.abc import Iterator
from pathlib import Path

from registry import store
from segapp.imaging.class_areas import ClassArea
from segapp.models import Batch, BatchItem, ItemState
from segapp.services import tables
from segapp.services.zips import Member


def totals(batch: Batch) -> list[ClassArea]:
    """The classes over all finished images, a class that two models name alike once."""
    found: dict[tuple[int, str], ClassArea] = {}
    for classes in batch.items.filter(state=ItemState.DONE).values_list("classes", flat=True):
        for one in classes:
            sum_of = found.setdefault((one["id"], one["name"]), {**one, "pixels": 0})
            sum_of["pixels"] += one["pixels"]
    pixels = sum(one["pixels"] for one in found.values()) or 1
    for one in found.values():
        one["percent"] = round(100.0 * one["pixels"] / pixels, 2)
    return list(found.values())


def table(batch: Batch) -> str:
    """CSV: one row for each finished image and class."""
    items = batch.items.filter(state=ItemState.DONE)
    areas = (
        tables.Areas(item.name, _mask_name(item), item.classes, item.model_key, item.model_sha256, item.doubt)
        for item in items
    )
    return tables.class_areas(areas, doubt=True)


def object_tables(batch: Batch) -> dict[str, Path]:
    """Where the tables of objects over all images are, by the key of their format."""
    names = {"csv": "objects.csv", "xlsx": "objects.xlsx", "classes": "object_classes.csv"}
    return {key: batch.folder / name for key, name in names.items()} if batch.objects_wanted else {}


def object_shapes(batch: Batch) -> dict[str, Path]:
    """Where the outlines of the objects of all images are, by the key of their format."""
    names = {"coco": "objects_coco.json", "yolo": "objects_yolo.zip"}
    return {key: batch.folder / name for key, name in names.items()} if batch.objects_wanted else {}


def object_files(batch: Batch) -> dict[str, Path]:
    """Tables and outlines of the objects of all images, by the key of their format."""
    return object_tables(batch) | object_shapes(batch)


def counts(batch: Batch) -> dict[str, int]:
    """Objects by class id over all finished images."""
    found: dict[str, int] = {}
    for counted in batch.items.filter(state=ItemState.DONE).values_list("counted", flat=True):
        for key, count in counted.get("counts", {}).items():
            found[key] = found.get(key, 0) + count
    return found


def members(batch: Batch) -> Iterator[Member]:
    """Name and content of each file of the zip: masks, overlays, the table, and what was left out and why."""
    yield "classes.csv", table(batch).encode()
    for path in object_tables(batch).values():
        if store.fetch(path).is_file():
            yield path.name, path
    missing = batch.items.exclude(state=ItemState.DONE)
    lines = tables.left_out((item.name, item.message or "The batch was stopped before its turn.") for item in missing)
    if lines:
        yield "left_out.csv", lines.encode()
    for item in batch.items.filter(state=ItemState.DONE).select_related("batch"):
        yield _mask_name(item), store.fetch(item.mask)
        yield f"overlays/{item.stem}.jpg", store.fetch(item.overlay)
        if item.counted:
            yield f"polygons/{item.stem}.geojson", store.fetch(item.polygons)
            yield f"instances/{item.stem}.png", store.fetch(item.instances)


def _mask_name(item: BatchItem) -> str:
    return f"masks/{item.stem}{item.mask.suffix}"
