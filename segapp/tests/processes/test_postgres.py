"""The second database: rows, pages and a whole training on a PostgreSQL of the test's own."""

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from segapp.home import PROJECT
from segapp.tests import second_pair
from segapp.tests.fixtures import unavailable
from segapp.tests.planting import plant_into
from segapp.tests.processes import training
from segapp.tests.serving import Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# What a second database can break: constraints, conditional updates, transactions, JSON, ordering.
ABOUT_ROWS = ["segapp/tests/services", "segapp/tests/views", "registry/tests/test_services.py"]


@pytest.fixture(scope="module")
def server_url():
    """A PostgreSQL's address, without a database."""
    found = second_pair.programs()
    if found is None:
        unavailable("there is no PostgreSQL; on Debian: apt-get install postgresql")
    with second_pair.postgres(found) as address:
        yield address


@pytest.fixture(scope="module")
def database_url(server_url):
    return second_pair.new_database(server_url, "segapp")


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


def test_a_backup_moves_from_sqlite_to_postgresql_and_back(tmp_path, server_url, database_url):
    other = second_pair.new_database(server_url)

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
