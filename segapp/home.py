"""SEGAPP_HOME: the one folder that holds everything this installation writes.

Knows nothing of models or requests: folders, the secret key, where the embedded Redis listens, and
bringing the database up to date. Settings import it, so it must stay importable before Django is set up.
"""

import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
MIGRATION_LOCK = 7_305_001  # any number that nothing else in the database uses
MAX_SOCKET_PATH = 100  # the kernel ends unix socket paths at 107 bytes


def home() -> Path:
    """The home folder, with `media/`, `var/` and `var/tmp/` made where they are missing."""
    folder = Path(os.environ.get("SEGAPP_HOME") or PROJECT).resolve()
    for name in ("media", "var", "var/tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return folder


def key_file(folder: Path) -> Path:
    """Where the signing key lies: `var/secret_key`, or a place of its own that only the web service sees."""
    return Path(os.environ.get("SEGAPP_KEY_FILE") or folder / "var" / "secret_key")


def secret_keys(folder: Path) -> list[str]:
    """The signing keys, current first; none where the file is empty or cannot be read.

    The file holds one key a line and is made on first use with mode 0600. To rotate, put a new key
    on the first line: the lines below it still verify what they signed. A file that is there is never replaced:
    what the lost key has signed would be worth nothing.
    """
    path = key_file(folder)
    with locked(folder, "secret_key"):
        if not path.exists():
            descriptor, draft = tempfile.mkstemp(dir=path.parent)  # mkstemp's mode is 0600 already
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(50) + "\n")
            os.replace(draft, path)
    try:
        return path.read_text().split()
    except (OSError, UnicodeDecodeError):
        return []


def redis_socket(folder: Path) -> Path:
    """Where the embedded Redis listens; a short temporary folder where the home's own path is too long."""
    path = folder / "var" / "redis.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path("/tmp") / f"segapp-{os.getuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise RuntimeError(f"{short} belongs to another user. Remove it, or set SEGAPP_HOME to a shorter path.")
    return short / "redis.sock"


@contextmanager
def locked(folder: Path, name: str, wait: bool = True) -> Iterator[None]:
    """Hold the home's lock `name`; other processes wait, or without `wait` get a BlockingIOError."""
    with open(folder / "var" / f"{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextmanager
def database_locked(connection: Any, number: int) -> Iterator[None]:
    """Hold an advisory lock of PostgreSQL, which all machines share; SQLite is on one machine, where `locked` does."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [number])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [number])


def prepare_database() -> None:
    """Apply the migrations that are missing; one process does it, the others wait for it, on other machines too."""
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    with locked(settings.SEGAPP_HOME, "migrate"), database_locked(connection, MIGRATION_LOCK):
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", verbosity=0, interactive=False)
    connection.close()
