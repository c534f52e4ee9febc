"""Submitting, stopping and forgetting batches, before anything is computed."""

import csv
import io
import zipfile
from datetime import timedelta

import pytest
from django.utils import timezone

from segapp import owner
from segapp.imaging import InvalidFile
from segapp.models import Batch, BatchItem, ItemState, State, Stop
from segapp.services import batch_results, batches, cleanup, restore, runs, zips
from segapp.services.errors import InvalidUpload, NotFound, StorageFull
from segapp.services.naming import result_stems
from segapp.tests.batch.sending import BROKEN, image, many, packed, upload

pytestmark = pytest.mark.django_db


def finished(batch: Batch, number: int, name: str = "road", pixels: int = 10) -> BatchItem:
    """One image as a worker leaves it."""
    item = batch.items.get(number=number)
    item.state, item.model_key, item.model_sha256, item.doubt = ItemState.DONE, "user_x", "5" * 64, 0.25
    item.classes = [
        {"id": 0, "name": "background", "color": "#000000", "pixels": 90, "percent": 90.0},
        {"id": 1, "name": name, "color": "#ff0000", "pixels": pixels, "percent": 10.0},
    ]
    item.save()
    for path in (item.mask, item.overlay, item.shown, item.small):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"file " + str(number).encode())
    Batch.objects.filter(pk=batch.pk).update(done=batch.items.filter(state=ItemState.DONE).count())
    return item


def test_images_are_stored_under_numbers_and_the_model_is_pinned(media):
    batch = batches.submit("alice", [upload("../../cat\x00.png"), upload("cat.jpg", image(1, format="JPEG"))])
    assert (batch.state, batch.total, batch.failed) == (State.QUEUED, 2, 0)
    assert sorted(path.name for path in batch.folder.rglob("*") if path.is_file()) == ["00001", "00002"]
    assert batch.folder.parent == media / "batches"
    assert [(item.name, item.stem) for item in batch.items.all()] == [("cat.png", "cat"), ("cat.jpg", "cat_2")]
    assert batch.items.first().source.read_bytes() == image()
    assert batch.model is None
    assert batch.model_key == batch.base_key == "efficientnet_lite0"
    assert len(batch.model_sha256) == 64


def test_a_bad_file_is_named_with_the_next_step_and_the_good_ones_go_on():
    files = [upload("a.png"), upload("b.png", b""), upload("c.png", b"<svg/>"), upload("d.png", BROKEN)]
    batch = batches.submit("alice", files)
    assert (batch.total, batch.failed, batch.waiting) == (4, 3, 1)
    said = {item.name: item.message for item in batch.items.filter(state=ItemState.FAILED)}
    assert "empty" in said["b.png"] and "Export it again" in said["b.png"]
    assert "HTML, SVG" in said["c.png"]
    assert set(said) == {"b.png", "c.png", "d.png"}
    assert [path.name for path in (batch.folder / "sources").iterdir()] == ["00001"]


def test_nothing_but_bad_files_is_refused_and_nothing_is_stored(media):
    with pytest.raises(InvalidUpload) as refusal:
        batches.submit("alice", [upload("a.png", b""), upload("b.png", b"<svg/>")])
    assert [problem["file"] for problem in refusal.value.problems] == ["a.png", "b.png"]
    assert not Batch.objects.exists()
    assert not list(media.rglob("*.*")) and not list(media.glob("batches/*"))


def test_a_zip_of_photos_is_taken_with_its_folders_in_the_names():
    files = {"trip/one/a.png": image(1), "trip/two/a.png": image(2), "trip/notes.txt": b"hello"}
    files |= {"__MACOSX/trip/._a.png": b"x", "trip/.DS_Store": b"x"}
    batch = batches.submit("alice", [], packed(files))
    assert batch.title == "photos.zip"
    assert [item.name for item in batch.items.all()] == ["trip/one/a.png", "trip/two/a.png", "trip/notes.txt"]
    assert [item.stem for item in batch.items.all()] == ["a", "a_2", "notes"]
    assert batch.items.get(number=3).state == ItemState.FAILED
    assert batch.items.get(number=2).source.read_bytes() == image(2)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (packed({"../a.png": b"x"}), "reaches out of its folder"),
        (packed({".hidden": b"x"}), "no file in it"),
        (upload("a.zip", b"PK no zip"), "not a zip"),
    ],
)
def test_a_zip_that_is_not_to_be_trusted_is_refused_as_a_whole(file, words, media):
    with pytest.raises(InvalidFile, match=words):
        batches.submit("alice", [], file)
    assert not list(media.rglob("*.*")) and not list(media.glob("batches/*"))


def test_a_bomb_is_refused_by_ratio_and_by_size(settings):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(30 * 10**6))
    with pytest.raises(InvalidFile, match="far more than it weighs"):
        batches.submit("alice", [], upload("bomb.zip", out.getvalue()))
    settings.BATCH_LIMIT_BYTES = 1000
    with pytest.raises(InvalidUpload, match="over 0 MB"):
        batches.submit("alice", [upload("a.png", bytes(1001))])


def test_limits_of_number_storage_and_unfinished_batches(settings, monkeypatch):
    settings.BATCH_LIMIT_FILES = 2
    with pytest.raises(InvalidFile, match="It holds 3 files"):
        batches.submit("alice", [], packed({f"{k}.png": image(k) for k in range(3)}))
    monkeypatch.setattr(batches, "MAX_UNFINISHED", 1)
    first = batches.submit("alice", many(2))
    with pytest.raises(batches.TooMany):
        batches.submit("alice", many(1))
    batches.stop(first, keep=False)
    settings.SEGAPP_STORAGE_BYTES = 100
    with pytest.raises(StorageFull, match="storage"):
        batches.submit("alice", many(1))


def test_stopping_ends_the_batch_at_once_whatever_its_worker_does():
    batch = batches.submit("alice", many(3))
    assert Batch.objects.claim(batch.pk, "here:1", "token")
    finished(batch, 1)
    batches.stop(batch, keep=True)
    assert (batch.state, batch.stop, batch.lease) == (State.DONE, Stop.KEEP, "")
    assert [found["name"] for found in batch.classes] == ["background", "road"]
    assert not (batch.folder / "sources").exists()
    assert batch.has_results
    batches.stop(batch, keep=False)
    assert batch.state == State.DONE, "what has ended stays as it is"


def test_cancelling_keeps_nothing_and_keeping_nothing_is_cancelling():
    for keep in (False, True):
        batch = batches.submit("alice", many(2))
        batches.stop(batch, keep)
        assert batch.state == State.CANCELLED
        assert not batch.folder.exists()
        assert not batch.items.exists()
        assert not Batch.objects.claim(batch.pk, "here:1", "token"), "a cancelled batch never starts"


def test_deleting_leaves_nothing():
    batch = batches.submit("alice", many(2))
    batches.delete(batch)
    assert not Batch.objects.exists() and not BatchItem.objects.exists()
    assert not batch.folder.exists()


def test_another_visitors_batch_is_the_same_as_none():
    batch = batches.submit("alice", many(1))
    assert batches.owned("alice", batch.public_id) == batch
    with pytest.raises(NotFound):
        batches.owned("charlie", batch.public_id)


def test_a_restored_visitor_keeps_batches():
    batch = batches.submit("old", many(1))
    restore.join("old", "new")
    assert batches.owned("new", batch.public_id) == batch


def test_expired_batches_go_and_unfinished_ones_stay(settings):
    old, working = batches.submit("alice", many(1)), batches.submit("alice", many(1))
    Batch.objects.update(created=timezone.now() - timedelta(days=settings.SEGAPP_RESULT_DAYS, hours=1))
    Batch.objects.filter(pk=old.pk).update(state=State.DONE)
    for removal in cleanup.plan():
        removal.act()
    assert list(Batch.objects.all()) == [working]
    assert not old.folder.exists() and working.folder.exists()


def test_the_reaper_takes_a_batch_back_from_a_dead_worker_and_rings(monkeypatch):
    dispatched = []
    monkeypatch.setattr(runs.dispatch, "batch", lambda row: dispatched.append(row.pk))
    batch = batches.submit("alice", many(1))
    dispatched.clear()
    Batch.objects.claim(batch.pk, f"{owner.name()}1", "token")
    runs.reap()
    batch.refresh_from_db()
    assert batch.state == State.QUEUED
    assert dispatched == [batch.pk]


def test_what_was_given_up_by_the_reaper_is_settled_by_the_next_worker():
    batch = batches.submit("alice", many(2))
    finished(batch, 1)
    gone = {"state": State.FAILED, "lease": "a dead worker's", "message": "Its worker stopped twice."}
    Batch.objects.filter(pk=batch.pk).update(**gone)
    batches.sweep()
    batch.refresh_from_db()
    assert batch.has_results and batch.classes and batch.message == "Its worker stopped twice."
    assert not (batch.folder / "sources").exists()


# --- what it leaves ---------------------------------------------------------------------------------------


def test_the_zip_holds_masks_overlays_the_table_and_what_was_left_out():
    batch = batches.submit("alice", [upload("=x.png"), upload("b.png", image(1)), upload("c.png", b"")])
    finished(batch, 1, name="@road")
    finished(batch, 2)
    whole = io.BytesIO(b"".join(zips.stream(batch_results.members(batch))))
    with zipfile.ZipFile(whole) as archive:
        assert archive.testzip() is None
        names = ["classes.csv", "left_out.csv", "masks/=x.png", "overlays/=x.jpg", "masks/b.png", "overlays/b.jpg"]
        assert archive.namelist() == names
        assert archive.read("masks/b.png") == b"file 2"
        rows = list(csv.DictReader(io.StringIO(archive.read("classes.csv").decode())))
        (left,) = csv.DictReader(io.StringIO(archive.read("left_out.csv").decode()))
    assert len(rows) == 4
    wanted = {"file": "'=x.png", "mask": "masks/=x.png", "id": "1", "name": "'@road", "pixels": "10", "percent": "10.0"}
    assert rows[1] == {**wanted, "model_key": "user_x", "model_sha256": "5" * 64, "doubt": "0.25"}
    assert left["file"] == "c.png" and "empty" in left["message"]


def test_areas_of_all_images_are_summed_by_class():
    batch = batches.submit("alice", many(2))
    finished(batch, 1, pixels=10)
    finished(batch, 2, pixels=30)
    road = batch_results.totals(batch)[1]
    assert (road["pixels"], road["percent"]) == (40, round(100 * 40 / 220, 2))


def test_a_file_that_is_gone_is_left_out_of_the_zip():
    batch = batches.submit("alice", many(2))
    finished(batch, 1).mask.unlink()
    names = zipfile.ZipFile(io.BytesIO(b"".join(zips.stream(batch_results.members(batch))))).namelist()
    assert "masks/street0.png" not in names and "overlays/street0.jpg" in names


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a.png", "b.png"], ["a", "b"]),
        (["a.png", "A.jpg", "a_2.png"], ["a", "A_3", "a_2"]),
        (["x/a.png", "y/a.png", "z/a.png"], ["a", "a_2", "a_3"]),
        (["café.png", "cafe\u0301.png"], ["café", "café_2"]),
        (['a<b>:"c|?*.png', "con.png", "..png", "  .png"], ["a_b___c___", "_con", "image", "png"]),
        (["scan.0001", "scan.0002"], ["scan.0001", "scan.0002"]),
    ],
)
def test_stems_of_results_are_safe_and_no_two_alike(names, stems):
    found = result_stems(names)
    if stems[-1] == "png":  # what is left of a name without one may be anything that is a name
        stems[-2:] = found[-2:]
        assert all(found[-2:])
    assert found == stems
    assert len({stem.casefold() for stem in found}) == len(found)


def test_a_stem_fits_into_every_file_system():
    assert len(result_stems(["ü" * 300 + ".png"])[0].encode()) <= 200
