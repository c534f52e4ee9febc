"""The API's calls as flows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from segapp_client._flow import Call, Flow, OnProgress, Patience, follow, request, result_of
from segapp_client._uploads import Source, Sources, is_zip, listed, many, one, pairs
from segapp_client.errors import NotFound
from segapp_client.results import Objects, Segmentation, read_mask


def got(path: str, patience: Patience) -> Flow[dict[str, Any]]:
    return (yield from request(Call("GET", path), patience)).json()


def posted(path: str, patience: Patience, **data: str) -> Flow[dict[str, Any]]:
    return (yield from request(Call("POST", path, data), patience)).json()


def deleted(path: str, patience: Patience) -> Flow[None]:
    yield from request(Call("DELETE", path), patience)


def downloaded(path: str, into: Path, patience: Patience) -> Flow[Path]:
    yield from request(Call("GET", path, into=into), patience)
    return into


def fetched(path: str, patience: Patience) -> Flow[bytes]:
    return (yield from request(Call("GET", path), patience)).content


def segment(
    image: Source,
    patience: Patience,
    on_progress: OnProgress | None,
    seconds: float,
    objects: bool,
    **options: Any,
) -> Flow[Segmentation]:
    sent = {"objects": "true", **fields(options)} if objects else fields(options)
    call = Call("POST", "/api/segment", sent, [one("file", image)])
    found = yield from result_of(call, patience, on_progress, seconds)
    mask = read_mask((yield from fetched(str(found["mask_url"]), patience)))
    table = ""
    if found.get("objects_url"):
        table = (yield from fetched(str(found["objects_url"]), patience)).decode("utf-8")
    return Segmentation.of(found, mask, Objects.read(table))


def start_finetune(
    images: Sources, masks: Sources, patience: Patience, classes: Sequence[dict[str, Any]] | None, **options: Any
) -> Flow[dict[str, Any]]:
    data = fields(options)
    if classes:
        data["classes"] = json.dumps(list(classes))
    call = Call("POST", "/api/finetune", data, pairs(images, masks))
    return (yield from request(call, patience)).json()


def model(model_id: str, patience: Patience) -> Flow[dict[str, Any]]:
    wanted = model_id.removeprefix("user_")
    for row in (yield from got("/api/models", patience))["models"]:
        if row["id"] == wanted:
            return dict(row)
    raise NotFound(f"There is no model {model_id} among yours.", status=404, code="not_found")


def trained(
    path: str, patience: Patience, on_progress: OnProgress | None, seconds: float | None
) -> Flow[dict[str, Any]]:
    """The model of a run, when it is done."""
    run = yield from follow(path, patience, on_progress, seconds)
    return (yield from model(str(run["user_id"]), patience))


def batch(
    files: Sources, patience: Patience, on_progress: OnProgress | None, seconds: float | None, **options: Any
) -> Flow[dict[str, Any]]:
    found = listed(files)
    uploads = [one("archive", found[0])] if is_zip(found) else many("files", found)
    sent = yield from request(Call("POST", "/api/batch", fields(options), uploads), patience)
    return (yield from follow(str(sent.json()["status_url"]), patience, on_progress, seconds))


def video(
    file: Source, patience: Patience, on_progress: OnProgress | None, seconds: float | None, **options: Any
) -> Flow[dict[str, Any]]:
    sent = yield from request(Call("POST", "/api/video", fields(options), [one("file", file, "video.mp4")]), patience)
    return (yield from follow(str(sent.json()["status_url"]), patience, on_progress, seconds))


def export(
    model_id: str,
    format: str,
    into: Path,
    patience: Patience,
    on_progress: OnProgress | None,
    seconds: float | None,
) -> Flow[Path]:
    asked = yield from posted(address("models", model_id, "exports", format), patience)
    done = yield from follow(str(asked["status_url"]), patience, on_progress, seconds)
    target = into / str(done["file"]) if into.is_dir() else into
    return (yield from downloaded(str(done["file_url"]), target, patience))


def address(*parts: str) -> str:
    """A path of the API; ids come from callers, so nothing in them may be a path of its own."""
    return "/api/" + "/".join(quote(part.removeprefix("user_"), safe="") for part in parts)


def fields(options: dict[str, Any]) -> dict[str, str]:
    """Form fields as the API takes them; what is None is left out."""
    found = {}
    for name, value in options.items():
        if isinstance(value, bool):
            found[name] = "true" if value else "false"
        elif isinstance(value, (list, tuple)):
            found[name] = ",".join(map(str, value))
        elif value is not None:
            found[name] = str(value)
    return found
