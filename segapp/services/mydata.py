"""All that is stored of one visitor: what it is, how large, and deleting every bit of it. Knows nothing of requests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import models, transaction

from registry import store
from registry.models import UserModel
from registry.services import storage_used
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
    VisitorAlias,
    VisitorMove,
)
from segapp.services import restore

LABELS: dict[type[models.Model], str] = {
    UserModel: "Model versions, the trash included",
    Example: "Images with masks to train on",
    TrainingSet: "Named training sets",
    TrainingRun: "Trainings, with their test images",
    Analysis: "Analyzed images and their masks",
    VideoJob: "Videos and their results",
    Batch: "Batches of images and their results",
    Export: "Files made for download",
    TransferCode: "Codes for another device",
    ApiKey: "API keys",
    Hook: "Webhooks",
}


@dataclass(frozen=True)
class Holding:
    """One kind of things that are stored of a visitor; `bytes` is None where there are no files."""

    label: str
    count: int
    bytes: int | None


def holdings(visitor: str) -> list[Holding]:
    """Everything there is, kind by kind; kinds without anything are left out."""
    found = []
    for kind in restore.kinds():
        if kind is LedgerEntry:
            continue  # what it counts is listed itself
        rows = list(kind._default_manager.filter(visitor=visitor))
        if rows:
            label = LABELS.get(kind) or str(kind._meta.verbose_name_plural).capitalize()
            found.append(Holding(label, len(rows), _bytes(visitor, kind, rows)))
    links = ModelShare.objects.filter(model__visitor=visitor).count()
    if links:
        found.append(Holding("Share links", links, None))
    order = list(LABELS.values())
    return sorted(found, key=lambda holding: order.index(holding.label) if holding.label in order else len(order))


def erase(visitor: str) -> None:
    """Delete every row and file of the visitor and of those who joined them.

    Rows go first and together, so that work in progress finds its row gone and publishes nothing;
    what a worker still writes after that is an orphan, which cleanup collects.
    """
    files: list[Path] = []
    with transaction.atomic():
        aliases = list(VisitorAlias.objects.filter(new=visitor).values_list("old", flat=True))
        everything = [kind._default_manager.filter(visitor__in=[visitor, *aliases]) for kind in restore.kinds()]
        for rows in everything:  # all are read before any goes: rows take others with them
            for row in rows:
                files.extend(_files(row))
        for rows in everything:
            rows.delete()
        VisitorAlias.objects.filter(new=visitor).delete()
        VisitorMove.objects.create(old=visitor, new="")
    for path in files:
        if path.suffix:
            store.remove(path)
        else:
            store.remove_folder(path)


def _files(row: Any) -> list[Path]:
    """A row's files: its folder, or a model's weights and preview."""
    if isinstance(row, UserModel):
        return [row.path, row.preview_path]
    return [row.folder] if hasattr(row, "folder") else []


def _bytes(visitor: str, kind: type[models.Model], rows: list[Any]) -> int | None:
    if kind is UserModel:
        return storage_used(visitor)
    folders = [path for row in rows for path in _files(row)]
    if not folders:
        return None
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
