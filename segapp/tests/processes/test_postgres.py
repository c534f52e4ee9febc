"""The second database: rows, pages and a whole training on a PostgreSQL of the test's own."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from segapp.home import PROJECT
from segapp.tests.fixtures import unavailable
from segapp.tests.planting import plant_into
from segapp.tests.processes import training
from segapp.tests.serving import Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# What a second database can break: constraints, conditional updates, transactions, JSON, ordering.
ABOUT_ROWS = ["segapp/tests/services", "segapp/tests/views", "registry/tests/test_services.py"]


def programs() -> Path:
    """The folder of PostgreSQL's server programs, which Debian keeps off the PATH."""
    for found in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (found / "postgres").exists():
            return found
    installed = shutil.which("postgres")
    if installed is None:
        unavailable("there is no PostgreSQL; on Debian: apt-get install postgresql")
    return Path(str(installed)).parent


@pytest.fixture(scope="module")
def database_url():
    """A cluster in a short temporary folder, on a free port of this machine; gone afterwards."""
    folder, bin_folder = Path(tempfile.mkdtemp(prefix="segapp-pg-")), programs()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    as_owner: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_owner = ["runuser", "-u", "postgres", "--"]
    cluster, log = str(folder / "cluster"), str(folder / "log")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"

    def call(*command: str) -> None:
        subprocess.run([*as_owner, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120)

    call(str(bin_folder / "initdb"), "-D", cluster, "-U", "segapp", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
    call(str(bin_folder / "pg_ctl"), "-D", cluster, "-l", log, "-o", options, "-w", "start")
    try:
        call(str(bin_folder / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "segapp", "segapp")
        yield f"postgres://segapp@127.0.0.1:{port}/segapp"
    finally:
        call(str(bin_folder / "pg_ctl"), "-D", cluster, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def test_services_and_views_pass_on_postgresql_too(database_url):
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow and not browser", "-p", "no:cacheprovider"]
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [*command, *ABOUT_ROWS],
        cwd=PROJECT,
        env={**inherited, "SEGAPP_TEST_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.mark.fault(39)
def test_a_model_is_trained_used_and_reset_on_postgresql(tmp_path, database_url):
    server = Served(tmp_path / "home", DATABASE_URL=database_url)
    try:
        server.start().wait_ready()
        visitor = server.visitor()
        visitor.get("/")
        with ThreadPoolExecutor(4) as tabs:  # four tabs press Train at once
            answers = list(tabs.map(lambda _: visitor.post("/api/finetune", {}, training.pairs()), range(4)))
        assert sorted(answer.status for answer in answers) == [202, 409, 409, 409]
        accepted = next(answer for answer in answers if answer.status == 202)
        run = training.follow(visitor, accepted.json()["status_url"])
        assert run["state"] == "done", run
        assert training.active(visitor) == f"user_{run['user_id']}"
        image = training.pairs(1)[0][2]
        found = visitor.post("/api/segment", {}, [("file", "disc.png", image)])
        assert found.json()["model_key"] == f"user_{run['user_id']}"
        visitor.post("/api/reset-to-base-model")
        assert training.active(visitor) == "efficientnet_lite0"
        assert not (server.home / "var" / "segapp.sqlite3").exists()
    finally:
        server.stop()


def test_a_backup_moves_from_sqlite_to_postgresql_and_back(tmp_path, database_url):
    other = database_url.rpartition("/")[0] + "/moved"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE moved")

    def manage(home: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SEGAPP_HOME": str(tmp_path / home), **variables}
        command = [sys.executable, str(PROJECT / "manage.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True, env=environment)

    manage("first", "cleanup_models")
    (model,) = plant_into(tmp_path / "first", "a" * 32, First=1)
    manage("first", "backup", tmp_path / "first.tar")
    manage("second", "restore", tmp_path / "first.tar", DATABASE_URL=other)
    (added,) = plant_into(tmp_path / "second", "a" * 32, database_url=other, Second=2)
    manage("second", "backup", tmp_path / "second.tar", DATABASE_URL=other)
    manage("third", "restore", tmp_path / "second.tar")
    with sqlite3.connect(tmp_path / "third" / "var" / "segapp.sqlite3") as database:
        rows = database.execute("SELECT public_id, active FROM registry_usermodel ORDER BY id").fetchall()
    assert rows == [(model, 0), (added, 1)]
    assert (tmp_path / "third" / "media" / "models" / f"user_{model}.pth").exists()
