"""PostgreSQL and Redis instead of SQLite and the embedded broker: servers of the tests' own.

`variables()` makes every test of a pytest run use them: tests without processes by SEGAPP_TEST_DATABASE_URL, and the
programs of each home, such as a service that serving.Served starts, by a database and a Redis of their own.
"""

import atexit
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from segapp.parts import redis_server

SERVICES = "SEGAPP_TEST_POSTGRES"  # a PostgreSQL's address, without a database: each home gets its own in it
IN_PROCESS = "SEGAPP_TEST_DATABASE_URL"
CONNECTIONS = 600  # a web server keeps up to 60, and each process of the tests starts several


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs, which Debian keeps off the PATH; None where there are none."""
    for found in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (found / "postgres").exists():
            return found
    installed = shutil.which("postgres")
    return Path(installed).parent if installed else None


@contextmanager
def postgres(bin_folder: Path) -> Iterator[str]:
    """A cluster in a short temporary folder, on a free port of this machine; gone afterwards.

    Gives its address without a database: `postgres://segapp@127.0.0.1:5433`.
    """
    folder, port = Path(tempfile.mkdtemp(prefix="segapp-pg-")), free_port()
    as_owner: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_owner = ["runuser", "-u", "postgres", "--"]
    cluster, log = str(folder / "cluster"), str(folder / "log")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections={CONNECTIONS}"

    def call(program: str, *arguments: str) -> None:
        command = [*as_owner, str(bin_folder / program), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120)

    call("initdb", "-D", cluster, "-U", "segapp", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
    call("pg_ctl", "-D", cluster, "-l", log, "-o", options, "-w", "start")
    try:
        yield f"postgres://segapp@127.0.0.1:{port}"
    finally:
        call("pg_ctl", "-D", cluster, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def new_database(address: str, name: str = "") -> str:
    """The URL of a new, empty database."""
    name = name or f"segapp_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{address}/{name}"


def own_redis() -> str:
    """The URL of a Redis that ends with this process."""
    folder, port = Path(tempfile.mkdtemp(prefix="segapp-redis-")), free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen([str(redis_server()), *options], stdout=subprocess.DEVNULL)

    def end() -> None:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return f"redis://127.0.0.1:{port}/0"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextmanager
def variables() -> Iterator[dict[str, str]]:
    """What a pytest run needs in its environment to use this pair. Raises SystemExit without PostgreSQL."""
    found = programs()
    if found is None:
        raise SystemExit("There is no PostgreSQL; on Debian: apt-get install postgresql")
    with postgres(found) as address:
        yield {SERVICES: address, IN_PROCESS: new_database(address)}


@cache
def for_home(home: Path) -> dict[str, str]:
    """DATABASE_URL and REDIS_URL for the programs of a home, where this pair is used; the same at every call."""
    address = os.environ.get(SERVICES)
    return {"DATABASE_URL": new_database(address), "REDIS_URL": own_redis()} if address else {}


def select(home: Path, query: str, *parameters: object) -> list[dict[str, Any]]:
    """Rows of a home's database. `query` has %s for each parameter."""
    url = for_home(home).get("DATABASE_URL")
    if url:
        with psycopg.connect(url, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), parameters).fetchall()
    with sqlite3.connect(home / "var" / "segapp.sqlite3", timeout=20) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query.replace("%s", "?"), parameters)]


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Nothing can be written to a home's database meanwhile; reading goes on."""
    url = for_home(home).get("DATABASE_URL")
    if url:
        with psycopg.connect(url) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            names = sql.SQL(", ").join(sql.Identifier(name) for (name,) in tables)
            connection.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(names))
            yield
            connection.rollback()
        return
    database = sqlite3.connect(home / "var" / "segapp.sqlite3", isolation_level=None, timeout=20)
    database.execute("BEGIN IMMEDIATE")
    yield
    database.execute("ROLLBACK")
    database.close()
