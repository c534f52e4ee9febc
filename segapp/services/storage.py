"""The account of what is stored: bytes of every kind, for each visitor, for each address, and for the whole server.

An entry is written with what it counts, measured again when a worker has added to it, and goes with its row. What does
not fit is refused before it is stored, and large uploads before they are read (segapp/upload_admission.py).
"""

import logging
import math
import os
import time
from collections.abc import Iterable
from contextvars import ContextVar
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Model, Sum
from django.db.models.signals import post_delete
from django.utils import timezone
from django.utils.crypto import salted_hmac

from registry import store
from registry.models import UserModel
from segapp.models import Analysis, Batch, Example, Export, LedgerEntry, TrainingRun, VideoJob
from segapp.services.errors import DiskFull, StorageFull

logger = logging.getLogger(__name__)

COUNTED: tuple[type[Model], ...] = (UserModel, Example, TrainingRun, Analysis, VideoJob, Batch, Export)
COPIES = 3  # of an upload on disk at a time: as it was received, as the form holds it, as it is stored
FREE = 2000 * 2**20
TOTAL_SECONDS = 5.0
SALT = "segapp.storage.source"

_total: list[float] = []

# Who is asking, as ledger entries name it; set for each request.
current_source: ContextVar[str] = ContextVar("current_source", default="")


def source_of(address: str) -> str:
    """How the ledger names an address: a keyed digest of the IPv4 address, or of the IPv6 network of 64 bits.

    Empty for what is no address, and for this machine itself, which has no quota.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_loopback:
        return ""
    network = str(found) if found.version == 4 else str(IPv6Address(int(found) >> 64 << 64))
    return salted_hmac(SALT, network, algorithm="sha256").hexdigest()[:32]


# --- entries --------------------------------------------------------------------------------------------


def enter(*rows: Any) -> None:
    """Count what these rows hold on this machine's disk, as sent by the current visitor."""
    for row in rows:
        values = {"visitor": row.visitor, "bytes": bytes_of(row), "source": current_source.get() or _source_of_run(row)}
        LedgerEntry.objects.update_or_create(place=place_of(row), defaults=values)


def measure(row: Any) -> None:
    """Count again what a row holds that was entered and is still there."""
    LedgerEntry.objects.filter(place=place_of(row)).update(bytes=bytes_of(row), measured=timezone.now())


def measure_after_work(row: Any) -> None:
    """The same where a failure of the database must not undo what was done; cleanup measures again."""
    try:
        measure(row)
    except DatabaseError as error:
        logger.warning("%s could not be measured: %s", place_of(row), error)


def reconcile() -> None:
    """Enter what has no entry yet, as after an update from a version without this account."""
    known = set(LedgerEntry.objects.values_list("place", flat=True))
    for kind in COUNTED:
        for row in kind._default_manager.all().iterator():
            if place_of(row) not in known:
                enter(row)
    there = {place_of(row) for kind in COUNTED for row in kind._default_manager.all().iterator()}
    LedgerEntry.objects.filter(place__in=known - there).delete()


def bytes_of(row: Any) -> int:
    """Bytes of a row's files. A file that goes while this looks counts for nothing."""
    return sum(_size(path) for path in files_of(row))


def files_of(row: Any) -> Iterable[Path]:
    """A row's files: all of its folder, or a model's weights and preview."""
    if isinstance(row, UserModel):
        return [row.path, row.preview_path]
    folder: Path = row.folder
    return [Path(top) / name for top, _, names in os.walk(folder) for name in names]


def place_of(row: Any) -> str:
    folder = "models" if isinstance(row, UserModel) else row.folder.parent.name
    return f"{folder}/{row.public_id}"


def forget(sender: type[Model], instance: Any, **_: Any) -> None:
    """An entry goes with its row."""
    if sender in COUNTED:
        LedgerEntry.objects.filter(place=place_of(instance)).delete()


def _source_of_run(row: Any) -> str:
    """What a worker makes belongs to the address that asked for it."""
    place = ""
    if isinstance(row, UserModel) and row.run_id:
        place = f"runs/{row.run_id}"
    elif isinstance(row, Export):
        place = place_of(row.model)
    return LedgerEntry.objects.filter(place=place).values_list("source", flat=True).first() or ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# --- what fits ------------------------------------------------------------------------------------------


def in_use(visitor: str) -> int:
    """Bytes of everything of the visitor's."""
    return _sum(visitor=visitor)


def hold_to_quota(
    visitor: str,
    more: int,
    *,
    source: str | None = None,
    copies: int = 1,
    coming: int = 0,
    coming_from_source: int = 0,
) -> None:
    """Raises StorageFull or DiskFull when `more` bytes of the visitor's do not fit.

    `source`: who sends them, None for the current visitor. `copies`: how often they lie on the disk while they come
    in. `coming`, `coming_from_source`: bytes of other uploads on their way.
    """
    mine, mega = settings.SEGAPP_STORAGE_BYTES, 2**20
    if visitor and in_use(visitor) + more > mine:
        raise StorageFull(
            f"Your storage of {mine // mega} MB does not hold {_shown(more)} more. Delete models, images, videos or "
            f"batches first; results go by themselves after {settings.SEGAPP_RESULT_DAYS} days."
        )
    asking, most = current_source.get() if source is None else source, settings.SEGAPP_ADDRESS_BYTES
    if asking and _sum(source=asking) + coming_from_source + more > most:
        raise StorageFull(
            f"All visitors from your address together may store {most // mega} MB, and {_shown(more)} more do not fit. "
            "Delete what you no longer need, or ask the operator of this server for more.",
            code="address_full",
        )
    size, free = disk()
    if _server_total() + coming + more > server_limit(size) or free - copies * (coming + more) < free_floor(size):
        raise DiskFull


def disk() -> tuple[int, int]:
    """Bytes of the disk that media is on, and how many are free there, or where uploads are received if less."""
    found = []
    for folder in (settings.MEDIA_ROOT, settings.FILE_UPLOAD_TEMP_DIR):
        status = os.statvfs(folder if folder.exists() else settings.SEGAPP_HOME)
        found.append((status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize))
    return found[0][0], min(free for _, free in found)


def server_limit(size: int) -> float:
    """What all visitors together may store, by the size of the disk."""
    if settings.SEGAPP_SERVER_BYTES:
        return float(settings.SEGAPP_SERVER_BYTES)
    return math.inf if store.is_shared() else 0.8 * size  # a bucket has no size


def free_floor(size: int) -> int:
    """Free bytes that uploads leave."""
    if settings.SEGAPP_FREE_BYTES is not None:
        return int(settings.SEGAPP_FREE_BYTES)
    return min(FREE, size // 10)


def _server_total() -> int:
    """The sum over the whole table, at most TOTAL_SECONDS old."""
    now = time.monotonic()
    if not _total or now - _total[0] > TOTAL_SECONDS:
        _total[:] = now, _sum()
    return int(_total[1])


def _sum(**which: str) -> int:
    return LedgerEntry.objects.filter(**which).aggregate(bytes=Sum("bytes"))["bytes"] or 0


def _shown(size: int) -> str:
    return f"{max(1, round(size / 2**20))} MB"


post_delete.connect(forget, dispatch_uid="segapp.services.storage")
