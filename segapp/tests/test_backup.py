"""A backup of a home, put into an empty one, gives back models that answer as before, and their visitors."""

import json
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from segapp.home import PROJECT
from segapp.tests.planting import plant_into

VISITOR = "a" * 32


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("backup")


def manage(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SEGAPP_HOME": str(home)}
    command = [sys.executable, str(PROJECT / "manage.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)


@pytest.fixture(scope="module")
def saved(place) -> tuple[Path, list[str]]:
    """A backup of a home with two models, and their ids."""
    assert manage(place / "old", "cleanup_models").returncode == 0  # any command migrates the home
    ids = plant_into(place / "old", VISITOR, First=1, Second=2)
    done = manage(place / "old", "backup", place / "saved.tar", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] >= 2
    return place / "saved.tar", ids


def test_only_the_owner_may_read_a_backup_for_it_holds_the_key(place, saved):
    assert stat.S_IMODE(saved[0].stat().st_mode) == 0o600
    with tarfile.open(saved[0]) as archive:
        member = archive.extractfile("secret_key")
        assert member is not None and member.read() == (place / "old" / "var" / "secret_key").read_bytes()
    assert not list(place.glob(".saved*"))


@pytest.mark.slow
def test_a_restored_home_has_the_models_the_files_and_the_key(place, saved):
    file, ids = saved
    done = manage(place / "new", "restore", file)
    assert done.returncode == 0, done.stderr
    for model in ids:
        name = f"media/models/user_{model}.pth"
        assert (place / "new" / name).read_bytes() == (place / "old" / name).read_bytes()
    assert (place / "new" / "var" / "secret_key").read_bytes() == (place / "old" / "var" / "secret_key").read_bytes()
    assert stat.S_IMODE((place / "new" / "var" / "secret_key").stat().st_mode) == 0o600
    image = place / "image.png"
    subprocess.run([sys.executable, "-c", f"from PIL import Image; Image.new('RGB', (40, 30)).save({str(image)!r})"])
    masks = []
    for home in ("old", "new"):
        answer = manage(place / home, "segment", "--model", ids[1], "--out", place / f"{home}-masks", "--json", image)
        assert answer.returncode == 0, answer.stderr
        (row,) = json.loads(answer.stdout)
        assert row["model_key"] == f"user_{ids[1]}"
        masks.append(Path(row["mask"]).read_bytes())
    assert masks[0] == masks[1]


@pytest.mark.slow
def test_new_rows_get_ids_behind_the_restored_ones(place, saved):
    home = place / "grown"
    assert manage(home, "restore", saved[0]).returncode == 0
    (added,) = plant_into(home, VISITOR, Third=1)
    assert added not in saved[1]


def test_a_home_in_use_is_not_overwritten(place, saved):
    done = manage(place / "old", "restore", saved[0])
    assert done.returncode == 1
    assert "has data already" in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_what_is_no_backup_is_refused_in_one_line_and_leaves_the_home_empty(place, saved):
    broken = place / "broken.tar"
    broken.write_bytes(saved[0].read_bytes()[: saved[0].stat().st_size // 2])
    other = place / "other.tar"
    with tarfile.open(other, "w") as archive:
        archive.add(__file__, arcname="anything")
    for file in (broken, other, place / "missing.tar"):
        done = manage(place / "empty", "restore", file)
        assert done.returncode == 1
        assert str(file) in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert manage(place / "empty", "restore", saved[0]).returncode == 0, "nothing of the broken one is in the way"


def test_an_empty_key_stops_the_web_in_plain_words_and_is_not_replaced(place):
    home = place / "keyless"
    (home / "var").mkdir(parents=True)
    (home / "var" / "secret_key").write_text("")
    done = manage(home, "serve", "--port", 0)
    assert done.returncode == 1
    assert "secret_key cannot be used" in done.stderr and "backup" in done.stderr
    assert (home / "var" / "secret_key").read_text() == ""
