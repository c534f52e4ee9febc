"""Media in a bucket: what is written is there for every machine, and what is missing or unreachable is told apart.

A machine is a media folder; the S3 server is a local one over real HTTP.
"""

import os
import time

import numpy as np
import pytest
from botocore.config import Config
from django.core.management import CommandError, call_command

from registry import services, store
from registry.files import ModelFileDamaged, write_atomically
from registry.models import FileState, UserModel
from registry.tests.test_services import ALICE, make
from segapp.services import cleanup, example_files, intake, mydata, painting
from segapp.tests.buckets import Bucket, new_bucket, s3_server
from segapp.tests.imaging.drawing import photo, saved, truth
from segapp.tests.services.test_painting import sent
from segapp.tests.views.rows import upload


@pytest.fixture(scope="module")
def endpoint():
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(endpoint, settings, tmp_path) -> Bucket:
    """A bucket of the test's own, and media in it."""
    made = new_bucket(endpoint)
    settings.STORAGES = {**settings.STORAGES, "default": made.storage()}
    settings.MEDIA_ROOT = tmp_path / "one"
    return made


@pytest.fixture
def elsewhere(settings, tmp_path):
    """Be another machine from now on."""

    def move(name: str = "other"):
        settings.MEDIA_ROOT = tmp_path / name
        return settings.MEDIA_ROOT

    return move


def written(settings, name: str = "runs/1/mask.png", content: bytes = b"mask"):
    path = settings.MEDIA_ROOT / name
    write_atomically(path, lambda out: out.write(content))
    return path


def published(**values) -> UserModel:
    """A model as a worker leaves it: the file was written, so it is in the bucket."""
    model = make(ALICE, **values)
    store.push(model.path)
    return model


def test_without_a_bucket_nothing_goes_anywhere(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    path = written(settings)
    assert not store.is_shared() and store.exists(path)
    assert store.fetch(tmp_path / "none.png") == tmp_path / "none.png"
    store.remove_folder(path.parent)
    assert not path.parent.exists() and not store.exists(path)


def test_what_is_written_here_is_read_elsewhere(bucket, settings, elsewhere):
    written(settings)
    assert bucket.read("runs/1/mask.png") == b"mask"
    other = elsewhere()
    assert store.exists(other / "runs/1/mask.png") and not (other / "runs/1/mask.png").exists()
    assert store.fetch(other / "runs/1/mask.png").read_bytes() == b"mask"
    assert not list(other.rglob(".*")), "no drafts are left"
    written(settings, "runs/1/other.png")
    store.fetch_folder(elsewhere("third") / "runs/1")
    assert sorted(path.name for path in (settings.MEDIA_ROOT / "runs/1").iterdir()) == ["mask.png", "other.png"]


def test_what_lies_outside_of_media_stays_there(bucket, tmp_path):
    write_atomically(tmp_path / "masks" / "one.png", lambda out: out.write(b"mine"))
    assert bucket.names() == []


def test_a_copy_at_hand_is_not_fetched_again_unless_a_newer_one_is_wanted(bucket, settings, elsewhere):
    written(settings, content=b"first")
    path = store.fetch(elsewhere() / "runs/1/mask.png")
    bucket.write("runs/1/mask.png", b"second")
    assert store.fetch(path).read_bytes() == b"first"
    os.utime(path, (time.time() + 60,) * 2)
    assert store.fetch(path, newer=True).read_bytes() == b"first"
    os.utime(path, (time.time(),) * 2)
    assert store.fetch(path, newer=True).read_bytes() == b"second", "in doubt it may be older"
    bucket.delete("runs/1/mask.png")
    assert store.fetch(path, newer=True).read_bytes() == b"second", "gone there is no reason to lose it here"


def test_removing_removes_both(bucket, settings, elsewhere):
    here = written(settings)
    written(settings, "runs/1/deep/er.png")
    written(settings, "runs/10/kept.png")
    store.remove(here)
    store.remove_folder(elsewhere() / "runs/1")
    store.remove_folder(settings.MEDIA_ROOT / "never")
    assert [name for name in bucket.names() if name != store.MARK] == ["runs/10/kept.png"]


def test_a_mask_painted_in_turns_on_two_machines_is_never_an_old_one(bucket, db, elsewhere):
    """Each machine has a copy of what was there when it looked last."""
    (one,) = painting.begin(ALICE, [upload("one.png", saved(photo(96)))])
    blank = np.zeros((96, 96), np.uint8)
    for turn, (machine, mask) in enumerate([("one", truth()), ("two", blank), ("one", truth()), ("two", blank)]):
        elsewhere(machine)
        found = painting.owned(ALICE, one.public_id)
        painting.save(found, sent(mask, sequence=turn + 1))
        for other in ("one", "two", "three"):
            elsewhere(other)
            found = painting.owned(ALICE, one.public_id)
            assert (example_files.painted_values(found) == mask).all()
            assert (example_files.ids_of(found, intake.review([found])) == mask).all()
            assert example_files.image_of(found).shape == (96, 96, 3)
    assert [name for name in bucket.names() if "/painted_1." in name] == []


def test_a_model_made_elsewhere_answers_here(bucket, db, elsewhere):
    model = published(active=True)
    elsewhere()
    assert services.resolve(ALICE).key == model.key
    assert model.path.exists()


def test_a_model_that_is_nowhere_falls_back_to_the_base(bucket, db, elsewhere):
    model = published(active=True)
    bucket.delete(model.file_name)
    elsewhere()
    answer = services.resolve(ALICE)
    assert not answer.is_custom and "is missing" in answer.notice
    model.refresh_from_db()
    assert model.file_state == FileState.MISSING


def test_a_copy_that_went_bad_is_fetched_anew_and_a_bad_original_is_not_used(bucket, db):
    model = published(active=True)
    model.path.write_bytes(b"rotten")
    assert services.resolve(ALICE).is_custom
    bucket.write(model.file_name, b"rotten, too")
    model.path.write_bytes(b"rotten")
    with pytest.raises(ModelFileDamaged):
        services.ensure_local(model)
    assert not services.resolve(ALICE).is_custom


@pytest.mark.parametrize("trouble", ["another bucket", "no server"])
def test_a_storage_that_does_not_answer_loses_no_model(bucket, db, elsewhere, settings, endpoint, alice, trouble):
    model = published(active=True)
    UserModel.objects.update(visitor=alice.visitor)
    if trouble == "another bucket":
        wrong = new_bucket(endpoint).storage()
    else:
        quick = Config(connect_timeout=1, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        wrong = Bucket("none", "http://127.0.0.1:9").storage(client_config=quick)
    settings.STORAGES = {**settings.STORAGES, "default": wrong}
    elsewhere()
    with pytest.raises(store.StoreUnreachable, match="SEGAPP_MEDIA"):
        services.resolve(alice.visitor)
    answer = alice.get("/api/health")
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "storage"
    page = alice.get("/")
    assert page.status_code == 503
    with pytest.raises(store.StoreUnreachable):
        list(cleanup.plan())
    model.refresh_from_db()
    assert model.active and model.file_state == FileState.OK


def test_a_preview_that_cannot_be_stored_fails_nothing_and_a_mask_does(bucket, settings):
    settings.STORAGES = {**settings.STORAGES, "default": Bucket("none", bucket.endpoint).storage()}
    written(settings, "runs/1/preview.webp")
    with pytest.raises(store.StoreUnreachable):
        written(settings, "runs/1/mask.png")


def test_a_base_version_kept_elsewhere_is_brought(bucket, db, elsewhere, settings, monkeypatch):
    from registry import bases

    base = services.current_base()
    bases.keep_version(base, settings.MEDIA_ROOT)
    elsewhere()
    monkeypatch.setattr(bases, "PACKAGED", settings.MEDIA_ROOT / "none")
    assert services.base_version(base.key, "0" * 64) is None
    assert services.base_version(base.key, base.sha256).sha256 == base.sha256
    assert services.base_version("unknown", base.sha256) is None


def test_cleanup_on_one_machine_knows_of_the_others_files(bucket, db, elsewhere, settings):
    model, lost = published(), published()
    bucket.delete(lost.file_name)
    elsewhere()
    assert [removal.message for removal in cleanup.plan()] == [f"row without a file, marked: {lost.file_name}"]
    store.fetch(model.path)
    os.utime(model.path, (time.time() - 8 * 86400,) * 2)
    (copy,) = (removal for removal in cleanup.plan() if removal.message.startswith("copy"))
    copy.act()
    assert not model.path.exists() and store.exists(model.path)
    services.delete_with_file(model)
    assert model.file_name not in bucket.names()


@pytest.fixture
def days_later(monkeypatch):
    """What was stored so far is as old as any result is kept, and two days."""

    def wait() -> None:
        stored_days = store.stored_days
        monkeypatch.setattr(store, "stored_days", lambda path: stored_days(path) + 9)

    return wait


def removed() -> list[str]:
    """Do what is due; what was said of it."""
    due = list(cleanup.plan())
    for removal in due:
        removal.act()
    return [removal.message.removeprefix("in the shared storage without a row: ") for removal in due]


def test_what_a_crash_left_in_the_bucket_is_removed_by_any_machine(bucket, db, elsewhere, settings, days_later):
    model = published(active=True)
    (one,) = painting.begin(ALICE, [upload("one.png", saved(photo(96)))])
    kept = bucket.names()
    left = ["models/user_gone.pth", "models/user_gone.webp", f"bases/base_x.{'0' * 12}.safetensors"]
    for name in [*left, "examples/gone/image.png", "examples/gone/deep/mask.png", "bases/base_x.json", "models/notes"]:
        bucket.write(name, b"left")
    version = f"bases/base_{model.base_key}.{model.base_sha256[:12]}.safetensors"
    bucket.write(version, b"needed")
    elsewhere()
    assert removed() == [], "it may be of a model that is published now"
    days_later()
    assert sorted(removed()) == sorted([left[2], "examples/gone", *left[:2]])
    assert bucket.names() == sorted([*kept, "bases/base_x.json", "models/notes", version])
    assert services.resolve(ALICE).key == model.key and painting.owned(ALICE, one.public_id)
    assert removed() == []


def test_a_bucket_of_which_the_database_knows_nothing_is_left_alone(bucket, db, elsewhere, days_later):
    """Another installation's, or ours before its database is restored."""
    model = published()
    bucket.write("analyses/a/image.png", b"of a row")
    UserModel.objects.all().delete()
    elsewhere()
    days_later()
    assert removed() == [] and model.file_name in bucket.names()


def test_the_age_in_the_bucket_is_that_of_the_youngest_file(bucket, settings):
    written(settings)
    written(settings, "runs/1/deep/er.png")
    assert 0 <= store.stored_days(settings.MEDIA_ROOT / "runs/1") < 0.01
    assert 0 <= store.stored_days(settings.MEDIA_ROOT / "runs/1/mask.png") < 0.01
    assert store.stored_days(settings.MEDIA_ROOT / "runs/2") == 0
    assert store.names_in(settings.MEDIA_ROOT / "runs/1") == ["deep", "mask.png"]
    assert store.names_in(settings.MEDIA_ROOT / "never") == []


def test_each_machine_looks_through_the_bucket_once_a_day(bucket, settings, tmp_path):
    settings.SEGAPP_HOME = tmp_path
    (tmp_path / "var").mkdir()
    assert cleanup._is_stored_due() and not cleanup._is_stored_due()
    os.utime(tmp_path / "var" / "stored_cleanup", (time.time() - 86401,) * 2)
    assert cleanup._is_stored_due()


def test_media_of_a_folder_moves_into_a_bucket_with_one_command(endpoint, settings, tmp_path, db, elsewhere, capsys):
    settings.MEDIA_ROOT = tmp_path / "one"
    with pytest.raises(CommandError, match="SEGAPP_MEDIA"):
        call_command("push_media")
    model, mask = make(ALICE, active=True), written(settings)
    bucket = new_bucket(endpoint)
    settings.STORAGES = {**settings.STORAGES, "default": bucket.storage()}
    call_command("push_media", "--dry-run")
    assert bucket.names() == [] and "2 files would be copied" in capsys.readouterr().out
    call_command("push_media")
    assert bucket.names() == [model.file_name, mask.relative_to(settings.MEDIA_ROOT).as_posix(), store.MARK]
    capsys.readouterr()
    call_command("push_media")
    assert capsys.readouterr().out == "0 files copied.\n"
    elsewhere()
    assert services.resolve(ALICE).key == model.key


def test_erasing_a_visitor_empties_the_bucket_of_them(bucket, db, elsewhere):
    model = published()
    other = make("c" * 32)
    store.push(other.path)
    elsewhere()
    mydata.erase(ALICE)
    assert model.file_name not in bucket.names() and other.file_name in bucket.names()
