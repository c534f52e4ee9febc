"""Removes what is no longer needed: emptied trash, orphan files, expired results, abandoned uploads. Reports it."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatch
from functools import partial
from importlib import import_module
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Model, Q
from django.utils import timezone

from registry import store
from registry.models import FileState, UserModel
from registry.services import delete_with_file, mark_lost
from segapp.home import locked
from segapp.models import UNFINISHED, Analysis, ApiKey, Batch, Example, Export, TrainingRun, VideoJob
from segapp.services import exports, hooks, moves, restore, retention, storage, transfer

logger = logging.getLogger(__name__)

BASE_VERSIONS = "base_*.*.*"  # names of the versions that are kept for models
GRACE = 3600  # seconds; a younger file may belong to a publication that is just happening
STORED_SECONDS = 86400  # between two looks of this machine through the whole shared storage
# The folders of media that hold a folder for each row, named by its public id.
OWNERS: dict[str, type[Model]] = {
    "examples": Example,
    "runs": TrainingRun,
    "analyses": Analysis,
    "videos": VideoJob,
    "batches": Batch,
    "exports": Export,
}


@dataclass(frozen=True)
class Removal:
    """One thing to remove: what a log says of it, and the call that removes it."""

    message: str
    act: Callable[[], object]


def run_in_background() -> None:
    """Do all that is due in a thread of its own, unless this machine is cleaning up already."""
    threading.Thread(target=_run, name="cleanup", daemon=True).start()


def _run() -> None:
    try:
        with locked(settings.SEGAPP_HOME, "cleanup", wait=False):
            for removal in plan(stored=_is_stored_due()):
                removal.act()
                logger.info("cleanup: %s", removal.message)
            clear_sessions()
            storage.reconcile()
    except BlockingIOError:
        return
    except (DatabaseError, OSError, store.StoreUnreachable) as error:
        logger.warning("cleanup stopped and goes on later: %s", error)
    finally:
        connection.close()


def clear_sessions() -> None:
    """Delete sessions that have expired."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()


def plan(older_than: int | None = None, unused_for: int | None = None, stored: bool = True) -> Iterator[Removal]:
    """Everything that is due. `older_than` and `unused_for` (days) add custom models that are not active; `stored` is
    whether to look through a shared storage, too."""
    yield from _models(older_than, unused_for)
    yield from _orphan_files()
    if stored:
        yield from _stored_orphans()
    yield from _rows_without_files()
    yield from _results()
    yield from _passing()
    yield from _training()
    yield from _temporary_files()
    yield from _local_copies()


def _models(older_than: int | None, unused_for: int | None) -> Iterator[Removal]:
    trash = UserModel.objects.filter(trashed_at__lt=_ago(settings.SEGAPP_TRASH_DAYS))
    groups = {"trash": trash}
    idle = UserModel.objects.filter(active=False).exclude(pk__in=trash)
    if older_than is not None:
        groups["old"] = idle.filter(created__lt=_ago(older_than))
    if unused_for is not None:
        shared = UserModel.objects.filter(shares__last_used__gte=_ago(unused_for))  # guests use it
        unused = Q(last_used__lt=_ago(unused_for)) | Q(last_used=None, created__lt=_ago(unused_for))
        groups["unused"] = idle.filter(unused).exclude(pk__in=shared)
    for why, models in groups.items():
        for model in models:  # read when its turn comes: what an earlier group removed is no longer there
            yield Removal(f"{why}: {model.file_name} ({model.name})", partial(delete_with_file, model))


def _orphan_files() -> Iterator[Removal]:
    """Weights and previews whose row was never written or is gone; bases' kept versions that no model needs."""
    known = _model_names()
    for path in _old_files(settings.MEDIA_ROOT / "models", "user_*"):
        if path.stem not in known:
            yield Removal(f"file without a row: models/{path.name}", partial(store.remove, path))
    names = _base_names()
    for path in _old_files(settings.MEDIA_ROOT / "bases", BASE_VERSIONS):
        if path.stem not in names:
            yield Removal(f"base version that no model needs: bases/{path.name}", partial(store.remove, path))
    for folder, rows in OWNERS.items():
        there = _public_ids(rows)
        for path in _old_files(settings.MEDIA_ROOT / folder, "*"):
            if path.is_dir() and path.name not in there:
                yield Removal(f"folder without a row: {folder}/{path.name}", partial(store.remove_folder, path))


def _stored_orphans() -> Iterator[Removal]:
    """What the shared storage holds and no row names: left by a crash on a machine that is gone, or by a removal that
    the storage did not answer.

    Older by a day than any result is kept, so whatever is just being made on any machine stays. A folder of which the
    database knows nothing at all is left alone: it may be another one's.
    """
    kinds: dict[str, Callable[[], set[str]]] = {"models": _model_names, "bases": _base_names}
    kinds |= {folder: partial(_public_ids, rows) for folder, rows in OWNERS.items()}
    for folder, known_names in kinds.items():
        found = [name for name in store.names_in(settings.MEDIA_ROOT / folder) if _is_ours(folder, name)]
        known = known_names()  # after the listing: what was made meanwhile is not in it
        if not any(_row_name(folder, name) in known for name in found):
            continue
        for name in found:
            path = settings.MEDIA_ROOT / folder / name
            if _row_name(folder, name) in known or store.stored_days(path) <= settings.SEGAPP_RESULT_DAYS + 1:
                continue
            remove = store.remove_folder if folder in OWNERS else store.remove
            yield Removal(f"in the shared storage without a row: {folder}/{name}", partial(remove, path))


def _is_ours(folder: str, name: str) -> bool:
    return folder in OWNERS or fnmatch(name, BASE_VERSIONS if folder == "bases" else "user_*")


def _row_name(folder: str, name: str) -> str:
    """What stands for a stored name among those of rows."""
    return name if folder in OWNERS else Path(name).stem


def _model_names() -> set[str]:
    return {model.path.stem for model in UserModel.objects.only("public_id")}


def _base_names() -> set[str]:
    needed = set(UserModel.objects.values_list("base_key", "base_sha256"))
    return {f"base_{key}.{sha256[:12]}" for key, sha256 in needed}


def _public_ids(rows: type[Model]) -> set[str]:
    return set(rows._default_manager.values_list("public_id", flat=True))


def _is_stored_due() -> bool:
    """Whether this machine looks through the shared storage now; once a day, since that asks for every name in it."""
    if not store.is_shared():
        return False
    stamp = settings.SEGAPP_HOME / "var" / "stored_cleanup"
    if stamp.exists() and 0 <= time.time() - stamp.stat().st_mtime < STORED_SECONDS:
        return False
    stamp.touch()
    return True


def _rows_without_files() -> Iterator[Removal]:
    if not (store.is_shared() or (settings.MEDIA_ROOT / "models").is_dir()):
        return  # media is away: nothing proves that a file is
    for model in UserModel.objects.filter(file_state=FileState.OK, trashed_at=None):
        if not store.exists(model.path):
            mark = partial(mark_lost, model, FileState.MISSING)
            yield Removal(f"row without a file, marked: {model.file_name}", mark)


def _results() -> Iterator[Removal]:
    limit = _ago(settings.SEGAPP_RESULT_DAYS)
    for analysis in Analysis.objects.filter(created__lt=limit):
        yield Removal(f"expired result: analyses/{analysis.public_id}", partial(_remove, analysis))
    for job in VideoJob.objects.filter(created__lt=limit).exclude(state__in=UNFINISHED):
        yield Removal(f"expired video: videos/{job.public_id}", partial(_remove, job))
    for batch in Batch.objects.filter(created__lt=limit).exclude(state__in=UNFINISHED):
        yield Removal(f"expired batch: batches/{batch.public_id}", partial(_remove, batch))


def _passing() -> Iterator[Removal]:
    """Files made for download, keys, deliveries of webhooks, what is kept of restores, and codes for another device."""
    for export in exports.expired().select_related("model"):
        yield Removal(f"expired download: exports/{export.public_id}", partial(exports.delete, export))
    for key in ApiKey.objects.filter(expires__lt=_ago(settings.SEGAPP_RESULT_DAYS)):
        yield Removal(f"expired key: {key.public_id}", key.delete)
    for delivery in hooks.expired():
        yield Removal(f"old delivery of a webhook: {delivery.public_id}", delivery.delete)
    for use in restore.expired_uses():
        yield Removal(f"used restore token: {use}", use.delete)
    for move in moves.expired():
        yield Removal(f"old move of a visitor: {move.pk}", move.delete)
    for code in transfer.expired():
        yield Removal(f"expired code: {code.public_id}", code.delete)


def _training() -> Iterator[Removal]:
    """Training images and trainings that nothing needs."""
    for example in retention.examples():
        why = "upload never used" if example.draft else "training image that nothing needs"
        yield Removal(f"{why}: examples/{example.public_id}", partial(retention.remove_example, example))
    for run in retention.trainings():
        yield Removal(f"training without a model: runs/{run.public_id}", partial(retention.remove_training, run))


def _temporary_files() -> Iterator[Removal]:
    found = [*settings.MEDIA_ROOT.rglob(".*.tmp"), *(settings.SEGAPP_HOME / "var" / "tmp").iterdir()]
    for path in found:
        if path.is_file() and time.time() - path.stat().st_mtime > GRACE:
            yield Removal(f"left from a crash: {path.relative_to(settings.SEGAPP_HOME)}", path.unlink)


def _local_copies() -> Iterator[Removal]:
    """With a shared storage: this machine's copies of models, fetched again when they are next asked for."""
    for path in _old_files(settings.MEDIA_ROOT / "models", "user_*") if store.is_shared() else ():
        if store.is_spare(path, settings.SEGAPP_RESULT_DAYS):
            yield Removal(f"copy that the shared storage has, too: models/{path.name}", path.unlink)


def _remove(row: Analysis | VideoJob | Batch) -> None:
    folder = row.folder
    row.delete()
    store.remove_folder(folder)


def _old_files(folder: Path, pattern: str) -> list[Path]:
    now = time.time()
    return [path for path in sorted(folder.glob(pattern)) if now - path.stat().st_mtime > GRACE]


def _ago(days: int) -> datetime:
    return timezone.now() - timedelta(days=days)
