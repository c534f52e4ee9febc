"""One export from claim to end: the model's network, written as a file of its own. Knows nothing of requests."""

import logging

from django.db import DatabaseError

from registry import store
from registry.export import ExportFailed, export
from registry.files import ModelFileDamaged, ModelFileMissing, disk_is_full
from registry.runtime import BaseMissing
from segapp import heartbeat
from segapp.models import Export, ExportFormat, State
from segapp.services import storage
from segapp.worker import claims, networks

logger = logging.getLogger(__name__)

LABEL = "segapp.Export"
DISK_FULL = "The server's disk is full, so the file could not be written. Your model is kept; try again later."
UNKNOWN = "The file could not be made. Your model is kept; try again, or take another format."
LOST = "The model's own file is gone or damaged, so nothing can be made from it. Choose another version."


def run(pk: int) -> None:
    """Write one queued export, by turn. A doubled message finds the row taken and does nothing."""
    row = claims.by_turn(Export.objects.all(), pk)
    if row is None:
        return
    heartbeat.hold(LABEL, row.pk, row.lease)
    try:
        _write(row)
    except (ModelFileMissing, ModelFileDamaged) as error:
        logger.warning("%s", error)
        _fail(row, LOST)
    except (BaseMissing, ExportFailed) as error:
        _fail(row, str(error))
    except Exception as error:
        logger.exception("export %s failed", row.public_id)
        _fail(row, DISK_FULL if disk_is_full(error) else UNKNOWN)
    finally:
        heartbeat.release(LABEL, row.pk)


def _write(row: Export) -> None:
    row.folder.mkdir(parents=True, exist_ok=True)
    with networks.runtime().use(networks.reference(row.model)) as network:
        detailed = row.format == ExportFormat.DETAILED
        report = export(network, "pth" if detailed else row.format, row.path, detailed)
    values = {"size_bytes": report["bytes"], "sha256": report["sha256"]}
    Export.objects.end(row.pk, row.lease, State.DONE, progress=1.0, **values)
    storage.enter(row)
    # When another worker has taken it, that one writes the same network under the same name.
    if not Export.objects.filter(pk=row.pk).exists():  # deleted meanwhile
        storage.forget(Export, row)
        store.remove_folder(row.folder)


def _fail(row: Export, message: str) -> None:
    store.remove_folder(row.folder)
    try:
        Export.objects.end(row.pk, row.lease, State.FAILED, message=message[:500])
    except DatabaseError:  # the reaper takes the row back
        logger.exception("export %s: its end could not be written", row.public_id)
