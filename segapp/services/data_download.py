"""All that is stored of one visitor as a zip, put together while it is sent.

account.json          what the database holds: models, trainings, sets, results, links, keys (never a secret)
models/               the weights and their previews, as kept here
training images/      an image and its mask, in a folder by name
runs/ analyses/ batches/ videos/   the files of each, in a folder by its id
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from registry import store
from registry.models import UserModel
from segapp.models import (
    Analysis,
    ApiKey,
    Batch,
    Example,
    Export,
    Hook,
    LedgerEntry,
    ModelShare,
    TrainingRun,
    TrainingSet,
    TransferCode,
    VideoJob,
)
from segapp.services import storage
from segapp.services.zips import Member

WORK = ["public_id", "state", "message", "created", "started", "ended"]
MODEL = ["model_key", "model_name", "model_sha256", "classes"]
SHOWN: dict[type[models.Model], list[str]] = {
    UserModel: [
        *("public_id", "name", "active", "base_key", "base_name", "base_sha256", "classes", "image_input", "metrics"),
        *("recipe", "sha256", "size_bytes", "seconds", "image_count", "run_id", "created", "last_used", "trashed_at"),
    ],
    Example: ["public_id", "stem", "width", "height", "mask_kind", "notes", "image_input", "draft", "created"],
    TrainingSet: ["public_id", "name", "open", "edits", "created", "updated"],
    TrainingRun: [*WORK, "name", "effort", "seed", "base_key", "classes", "reading", "losses", "scores", "metrics"],
    Analysis: ["public_id", "title", "state", "width", "height", *MODEL, "timings", "notes", "created", "ended"],
    VideoJob: [*WORK, "title", *MODEL, "options", "frames", "timeline", "object_timeline", "doubtful"],
    Batch: [*WORK, "title", *MODEL, "total", "done", "failed"],
    Export: [*WORK, "format", "size_bytes", "sha256"],
    ApiKey: ["public_id", "name", "scope", "created", "expires", "last_used"],
    Hook: ["public_id", "url", "events", "created"],
    TransferCode: ["public_id", "created", "expires", "claimed_at"],
    LedgerEntry: ["place", "bytes"],
}
FOLDERS = {UserModel: "models", Example: "training images"}  # others keep the folder's name on this server
LEFT_OUT = {Export}  # whose files are made of the models again at any time


def members(visitor: str) -> Iterator[Member]:
    """The zip's members. A file that goes meanwhile is left out."""
    yield "account.json", account(visitor)
    for kind in SHOWN:
        if kind not in storage.COUNTED or kind in LEFT_OUT:
            continue
        for pk in list(kind._default_manager.filter(visitor=visitor).values_list("pk", flat=True)):
            row = kind._default_manager.filter(pk=pk).first()  # one at a time: a client may take hours
            if row is not None:
                yield from _files_of(row)


def account(visitor: str) -> bytes:
    """What the database holds of the visitor, as JSON."""
    found: dict[str, Any] = {}
    for kind, names in SHOWN.items():
        found[str(kind._meta.verbose_name_plural)] = list(kind._default_manager.filter(visitor=visitor).values(*names))
    for row in found["training runs"]:
        row["images"] = _images(TrainingRun, row["public_id"])
    for row in found["training sets"]:
        row["images"] = _images(TrainingSet, row["public_id"])
    links = ModelShare.objects.filter(model__visitor=visitor)
    found["share links"] = list(links.values("model__public_id", "created", "last_used"))
    return json.dumps(found, cls=DjangoJSONEncoder, ensure_ascii=False, indent=1).encode()


def _images(kind: type[TrainingRun] | type[TrainingSet], public_id: str) -> list[str]:
    return list(Example.objects.filter(**{f"{_names[kind]}__public_id": public_id}).values_list("public_id", flat=True))


_names = {TrainingRun: "runs", TrainingSet: "sets"}


def _files_of(row: Any) -> Iterator[Member]:
    if isinstance(row, UserModel):
        for path in storage.files_of(row):
            yield f"models/{path.name}", path
        return
    folder: Path = store.fetch_folder(row.folder)
    place = FOLDERS.get(type(row), folder.parent.name)
    name = f"{_plain(row.stem)} {row.public_id[:8]}" if isinstance(row, Example) else row.public_id
    for path in sorted(storage.files_of(row)):
        yield f"{place}/{name}/{path.relative_to(folder)}", path


def _plain(stem: str) -> str:
    """A name that is a folder's on every system."""
    return re.sub(r"[^\w .()-]", "_", stem)[:80].strip(" .") or "image"
