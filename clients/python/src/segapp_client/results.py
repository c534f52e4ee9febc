"""What the calls give back. Rows are plain dictionaries with the API's own names; see the server's docs/api.md."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, TiffImagePlugin

Mask = npt.NDArray[np.uint8]


class ClassArea(TypedDict):
    """How much of an image a class covers."""

    id: int
    name: str
    color: str
    pixels: int
    percent: float


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is. `fraction` from 0 to 1; `raw` is the server's whole answer."""

    state: str
    fraction: float
    eta_seconds: float | None
    message: str
    loss: list[float] = field(repr=False)
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Progress:
        return cls(
            state=str(answer.get("state", "")),
            fraction=float(answer.get("progress") or 0.0),
            eta_seconds=answer.get("eta_seconds"),
            message=str(answer.get("message") or ""),
            loss=list(answer.get("loss") or []),
            raw=answer,
        )


class Objects(list[dict[str, Any]]):
    """One row for each object, with the columns of the server's table: object, class_id, class, area_px and so on.

    Numbers are numbers, empty cells are None.
    """

    @property
    def counts(self) -> dict[int, int]:
        """How many objects there are of each class id."""
        return dict(Counter(row["class_id"] for row in self if row.get("class_id") is not None))

    @classmethod
    def read(cls, table: str) -> Objects:
        rows = csv.DictReader(io.StringIO(table.lstrip("\ufeff")))
        return cls(
            {name: text if name == "class" else _value(text) for name, text in row.items() if name is not None}
            for row in rows
        )


@dataclass(frozen=True)
class Segmentation:
    """What a model found on one image.

    `mask` holds class ids, uint8 of shape (height, width). `objects` lists single objects, where the server measured
    them; `objects_message` says why it could not. `scale` is the pixel size in words. Addresses are the server's;
    `Segapp.download` fetches them while the server keeps the result.
    """

    mask: Mask = field(repr=False)
    objects: Objects = field(repr=False)
    classes: list[ClassArea]
    width: int
    height: int
    model_key: str
    model_sha256: str
    inference_ms: float | None
    notes: list[str]
    notice: str
    objects_message: str
    scale: str
    mask_url: str
    overlay_url: str
    confidence_url: str
    objects_url: str
    geojson_url: str
    instances_url: str
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, answer: dict[str, Any], mask: Mask, objects: Objects) -> Segmentation:
        return cls(
            mask=mask,
            objects=objects,
            classes=list(answer.get("classes") or []),
            width=int(answer.get("width") or mask.shape[1]),
            height=int(answer.get("height") or mask.shape[0]),
            model_key=str(answer.get("model_key") or ""),
            model_sha256=str(answer.get("model_sha256") or ""),
            inference_ms=answer.get("inference_ms"),
            notes=list(answer.get("notes") or []),
            notice=str(answer.get("notice") or ""),
            objects_message=str(answer.get("objects_message") or ""),
            scale=str(answer.get("scale") or ""),
            raw=answer,
            **{name: str(answer.get(name) or "") for name in URLS},
        )


URLS = ("mask_url", "overlay_url", "confidence_url", "objects_url", "geojson_url", "instances_url")


@dataclass(frozen=True)
class ModelInfo:
    """A model as the server lists it."""

    id: str
    key: str
    name: str
    active: bool
    base: str
    classes: list[dict[str, Any]] = field(repr=False)
    metrics: dict[str, Any] = field(repr=False)
    image_count: int
    created: str
    raw: dict[str, Any] = field(repr=False, compare=False)

    @staticmethod
    def values(answer: dict[str, Any]) -> dict[str, Any]:
        names = ("id", "key", "name", "active", "base", "classes", "metrics", "image_count", "created")
        return {name: answer[name] for name in names}


@dataclass(frozen=True)
class RunInfo:
    """A training that was accepted; `notes` are sentences on what was decided about the files."""

    id: str
    status_url: str
    notes: list[str]

    @staticmethod
    def values(answer: dict[str, Any]) -> dict[str, Any]:
        return {"id": answer["run_id"], "status_url": answer["status_url"], "notes": list(answer.get("notes") or [])}


@dataclass(frozen=True)
class BatchFile:
    """One image of a batch: `ok`, or what is wrong with it in `message`; `counts` of its objects by class id."""

    name: str
    stem: str
    ok: bool
    message: str
    mask_url: str
    overlay_url: str
    geojson_url: str
    instances_url: str
    counts: dict[int, int]

    @classmethod
    def of(cls, row: dict[str, Any]) -> BatchFile:
        names = ("stem", "message", "mask_url", "overlay_url", "geojson_url", "instances_url")
        texts = {name: str(row.get(name) or "") for name in names}
        return cls(name=str(row["file"]), ok=row["state"] == "done", counts=counts_of(row), **texts)


def counts_of(answer: dict[str, Any]) -> dict[int, int]:
    """How many objects of each class id an answer says there are."""
    return {int(key): int(count) for key, count in (answer.get("objects") or {}).items()}


@dataclass(frozen=True)
class BatchInfo:
    """A finished batch: its files, and the classes and counts of objects summed over all of them."""

    id: str
    files: list[BatchFile]
    classes: list[ClassArea]
    model_key: str
    message: str
    zip_url: str
    table_url: str
    objects_url: str
    counts: dict[int, int]
    raw: dict[str, Any] = field(repr=False)

    @property
    def failed(self) -> list[BatchFile]:
        return [file for file in self.files if not file.ok]

    @staticmethod
    def values(answer: dict[str, Any]) -> dict[str, Any]:
        names = ("model_key", "message", "zip_url", "table_url", "objects_url")
        return {
            "id": answer["batch_id"],
            "files": [BatchFile.of(row) for row in answer.get("files") or []],
            "classes": list(answer.get("classes") or []),
            "counts": counts_of(answer),
            **{name: str(answer.get(name) or "") for name in names},
        }


@dataclass(frozen=True)
class VideoInfo:
    """A finished video: `classes` over all frames, `timeline` with the share of each class over time."""

    id: str
    frames: int
    classes: list[ClassArea]
    timeline: list[Any] = field(repr=False)
    model_key: str
    message: str
    overlay_url: str
    mask_url: str
    table_url: str
    raw: dict[str, Any] = field(repr=False)

    @staticmethod
    def values(answer: dict[str, Any]) -> dict[str, Any]:
        names = ("model_key", "message", "overlay_url", "mask_url", "table_url")
        return {
            "id": answer["job_id"],
            "frames": int(answer.get("frames") or 0),
            "classes": list(answer.get("classes") or []),
            "timeline": list(answer.get("timeline") or []),
            **{name: str(answer.get(name) or "") for name in names},
        }

    @property
    def urls(self) -> dict[str, str]:
        """The files by their names."""
        return {"overlay.mp4": self.overlay_url, "mask.mp4": self.mask_url, "frames.csv": self.table_url}


@dataclass(frozen=True)
class ApiKey:
    """A key as it is listed; `key` itself only in the answer that makes it."""

    id: str
    name: str
    scope: str
    created: str
    expires: str | None
    last_used: str | None
    key: str = field(default="", repr=False)

    @classmethod
    def of(cls, answer: dict[str, Any]) -> ApiKey:
        names: Iterable[str] = ("id", "name", "scope", "created", "expires", "last_used")
        values: dict[str, Any] = {name: answer.get(name) for name in names}
        return cls(**values, key=str(answer.get("key") or ""))


def read_mask(content: bytes) -> Mask:
    """Class ids (H, W) from a palette PNG, or from the tiled TIFF that a very large image gives."""
    kind = TiffImagePlugin.TiffImageFile if content[:2] in (b"II", b"MM") else PngImagePlugin.PngImageFile
    image: Image.Image = kind(io.BytesIO(content))  # not Image.open, which refuses large ones
    with image:
        return np.array(image, dtype=np.uint8)


def _value(text: str | None) -> Any:
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
