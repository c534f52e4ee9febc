"""Everything that an installation holds in one file, and back into an empty home.

The file is a tar: `backup.json` (what it is), `database.jsonl` (a row a line, for any database), `secret_key`, and
`media/`. Rows are read in one snapshot before the files, and a file never changes once a row names it, so a backup
taken while the service works is consistent. It holds the signing key: with it one can sign for every visitor.
"""

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import serializers
from django.core.management.color import no_style
from django.db import connection, models, transaction

from registry import store
from segapp.home import key_file, locked

FORMAT = 1
INDEX, ROWS, KEY, MEDIA = "backup.json", "database.jsonl", "secret_key", "media/"
# Made by every installation for itself, or of no use in another one.
LEFT_OUT = {"contenttypes.contenttype", "auth.permission", "sessions.session", "segapp.worker"}
Log = Callable[[str], None]


class BackupError(ValueError):
    """The backup cannot be made or used; the message says why and what to do."""


def backup(target: Path, log: Log) -> dict[str, int]:
    """Write a backup to `target`, whole or not at all; returns how many rows, files and bytes it holds.

    Raises BackupError where the target lies in the media folder, OSError, and StoreUnreachable.
    """
    media = Path(settings.MEDIA_ROOT)
    if target.resolve().is_relative_to(media.resolve()):
        raise BackupError(f"{target} lies in the media folder, so it would hold itself. Name a file elsewhere.")
    with locked(settings.SEGAPP_HOME, "cleanup"), _draft(target) as draft:  # no cleanup removes what a row names
        with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as archive:
            rows = _add_rows(archive)
            log(f"{rows} rows")
            _add_bytes(archive, KEY, key_file(settings.SEGAPP_HOME).read_bytes())
            files = 0
            for path in _media_files(media):
                files += _add_file(archive, path, MEDIA + path.relative_to(media).as_posix())
            log(f"{files} files")
            about = {"format": FORMAT, "created": datetime.now(UTC).isoformat(), "rows": rows, "files": files}
            _add_bytes(archive, INDEX, json.dumps(about).encode())
    return {"rows": rows, "files": files, "bytes": target.stat().st_size}


def restore(source: Path, log: Log) -> dict[str, int]:
    """Put a backup into this home, whose database must be migrated and hold no visitor's rows.

    Rows and key are only put in place when every file is. Raises BackupError for what is not a backup, a newer format,
    a damaged file, and a home in use; then the database is as it was.
    """
    if any(kind._default_manager.exists() for kind in _kinds()):
        raise BackupError("This home has data already. Name an empty folder with SEGAPP_HOME, or an empty database.")
    try:
        with tarfile.open(source) as archive:
            about = _about(archive, source)
            with tempfile.TemporaryDirectory(dir=settings.SEGAPP_HOME / "var") as scratch:
                archive.extractall(scratch, filter="data")
                files = _put_media(Path(scratch) / MEDIA)
                if files != about["files"]:
                    raise BackupError(f"{source} names {about['files']} files and holds {files}. Use another backup.")
                log(f"{files} files")
                rows = _load_rows(Path(scratch) / ROWS)
                if rows != about["rows"]:
                    raise BackupError(f"{source} names {about['rows']} rows and holds {rows}. Use another backup.")
                log(f"{rows} rows")
                _put_key(Path(scratch) / KEY)
    except (tarfile.TarError, EOFError, serializers.base.DeserializationError) as error:
        raise BackupError(f"{source} is damaged or no backup ({error}). Use another one.") from error
    return {"rows": rows, "files": files, "bytes": source.stat().st_size}


# --- writing ----------------------------------------------------------------------------------------------


def _add_rows(archive: tarfile.TarFile) -> int:
    with tempfile.TemporaryFile() as scratch:
        text = io.TextIOWrapper(scratch, encoding="utf-8", write_through=True)
        with _snapshot():
            rows = 0
            for kind in _kinds(everything=True):
                for row in kind._default_manager.order_by("pk").iterator(chunk_size=500):
                    serializers.serialize("jsonl", [row], stream=text, use_natural_foreign_keys=True)
                    rows += 1
        size = scratch.seek(0, os.SEEK_END)
        scratch.seek(0)
        archive.addfile(_info(ROWS, size), scratch)
        text.detach()
    return rows


def _add_file(archive: tarfile.TarFile, path: Path, name: str) -> int:
    """1 when it was added, 0 when it is gone by now: its visitor deleted it."""
    try:
        with open(path, "rb") as file:
            archive.addfile(_info(name, os.fstat(file.fileno()).st_size, path.stat().st_mtime), file)
    except FileNotFoundError:
        return 0
    return 1


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_info(name, len(content)), io.BytesIO(content))


def _info(name: str, size: int, modified: float = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, int(modified), 0o600
    return info


def _media_files(media: Path) -> Iterator[Path]:
    """All of media, also what only a shared storage has; temporary files are left out."""
    if store.is_shared():
        store.fetch_folder(media)
    for path in sorted(media.rglob("*")):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            yield path


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A file beside the target that becomes it when all is written; only its owner may read it."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.resolve().parent)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _snapshot() -> Iterator[None]:
    """All reads inside see the database as it was at the first of them."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _kinds(everything: bool = False) -> list[type[models.Model]]:
    """Kinds of rows in an order that names come before what names them; without `everything` those of visitors."""
    kinds: Iterable[Any] = serializers.sort_dependencies(
        [(app, None) for app in apps.get_app_configs() if app.models_module is not None]
    )
    kept = [kind for kind in kinds if kind._meta.label_lower not in LEFT_OUT and not kind._meta.proxy]
    return kept if everything else [kind for kind in kept if kind._meta.app_label in ("segapp", "registry")]


# --- reading ----------------------------------------------------------------------------------------------


def _about(archive: tarfile.TarFile, source: Path) -> dict[str, Any]:
    names = set(archive.getnames())
    if not {INDEX, ROWS, KEY} <= names:
        raise BackupError(f"{source} is not a backup of Segapp, or is incomplete. Name a file that `backup` wrote.")
    member = archive.extractfile(INDEX)
    about: dict[str, Any] = json.load(member) if member else {}
    if about.get("format") != FORMAT:
        raise BackupError(f"{source} has format {about.get('format')}; this program reads {FORMAT}. Update it first.")
    return about


def _put_media(extracted: Path) -> int:
    """Move the files into media; a shared storage gets them, too. Returns how many there are."""
    media, moved = Path(settings.MEDIA_ROOT), 0
    for path in sorted(extracted.rglob("*")):
        if path.is_file():
            target = media / path.relative_to(extracted)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
            os.chmod(target, 0o644)
            moved += 1
    store.push_folder(media)
    return moved


@transaction.atomic
def _load_rows(file: Path) -> int:
    """Rows as they were, ids included; fields that this program no longer has are passed over."""
    rows, kinds = 0, set()
    with open(file, encoding="utf-8") as lines, connection.constraint_checks_disabled():
        for row in serializers.deserialize("jsonl", lines, ignorenonexistent=True):
            row.save()
            kinds.add(type(row.object))
            rows += 1
    connection.check_constraints(table_names=[kind._meta.db_table for kind in kinds])
    with connection.cursor() as cursor:  # the next row of each kind gets an id behind the last one's
        for statement in connection.ops.sequence_reset_sql(no_style(), list(kinds)):
            cursor.execute(statement)
    return rows


def _put_key(key: Path) -> None:
    target = key_file(settings.SEGAPP_HOME)
    draft = target.with_name(f".{target.name}.tmp")  # beside it: the key may lie on a file system of its own
    shutil.copyfile(key, draft)
    os.chmod(draft, 0o600)
    os.replace(draft, target)
