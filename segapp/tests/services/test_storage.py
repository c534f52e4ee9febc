"""One account of what is stored: every kind counts, for the visitor, for the address and for the server."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from segapp import upload_admission
from segapp.models import Analysis, Batch, Example, LedgerEntry, TrainingRun, VideoJob
from segapp.services import intake, mydata, restore, storage
from segapp.services.errors import DiskFull, StorageFull
from segapp.tests.imaging.drawing import photo, saved

pytestmark = pytest.mark.django_db
ALICE, CHARLIE = "a" * 32, "c" * 32
MEGA = 2**20


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.SEGAPP_FREE_BYTES = 0
    storage._total.clear()
    token = storage.current_source.set("")
    yield
    storage.current_source.reset(token)
    storage._total.clear()


def stored(kind, visitor, size):
    row = kind.objects.create(visitor=visitor, **({"width": 1, "height": 1} if kind in (Example, Analysis) else {}))
    row.folder.mkdir(parents=True)
    (row.folder / "file").write_bytes(b"\0" * size)
    storage.enter(row)
    return row


@pytest.mark.parametrize("kind", [Example, TrainingRun, Analysis, VideoJob, Batch])
def test_every_kind_counts_until_it_is_deleted(kind):
    row = stored(kind, ALICE, 1000)
    assert storage.in_use(ALICE) == 1000 and storage.in_use(CHARLIE) == 0
    (row.folder / "more").write_bytes(b"\0" * 10)
    storage.measure(row)
    assert storage.in_use(ALICE) == 1010
    kind.objects.filter(pk=row.pk).delete()
    assert storage.in_use(ALICE) == 0


def test_a_full_storage_of_a_visitor_takes_no_more(settings):
    settings.SEGAPP_STORAGE_BYTES = 1500
    stored(Analysis, ALICE, 1000)
    storage.hold_to_quota(ALICE, 500)
    with pytest.raises(StorageFull):
        storage.hold_to_quota(ALICE, 501)
    storage.hold_to_quota(CHARLIE, 501)


def test_new_cookies_of_one_address_share_its_quota(settings):
    settings.SEGAPP_ADDRESS_BYTES = 1500
    storage.current_source.set(storage.source_of("203.0.113.7"))
    stored(Batch, ALICE, 1000)
    with pytest.raises(StorageFull) as full:
        storage.hold_to_quota(CHARLIE, 501)
    assert full.value.code == "address_full"
    storage.current_source.set(storage.source_of("203.0.113.8"))
    storage.hold_to_quota(CHARLIE, 501)


def test_ipv6_counts_by_network_and_this_machine_not_at_all():
    assert storage.source_of("2001:db8:1:2::1") == storage.source_of("2001:db8:1:2:ffff::9")
    assert storage.source_of("2001:db8:1:2::1") != storage.source_of("2001:db8:1:3::1")
    assert storage.source_of("::ffff:203.0.113.7") == storage.source_of("203.0.113.7") != ""
    assert storage.source_of("127.0.0.1") == storage.source_of("::1") == storage.source_of("unix:") == ""
    assert "203" not in storage.source_of("203.0.113.7")


def test_the_server_as_a_whole_and_the_free_room_bound_everybody(settings):
    settings.SEGAPP_SERVER_BYTES = 1500
    stored(VideoJob, ALICE, 1000)
    storage.hold_to_quota(CHARLIE, 500)
    with pytest.raises(DiskFull):
        storage.hold_to_quota(CHARLIE, 501)
    settings.SEGAPP_SERVER_BYTES = 0
    settings.SEGAPP_FREE_BYTES = storage.disk()[1] - 100 * MEGA
    storage.hold_to_quota(CHARLIE, MEGA)
    with pytest.raises(DiskFull):
        storage.hold_to_quota(CHARLIE, 200 * MEGA)
    with pytest.raises(DiskFull):
        storage.hold_to_quota(CHARLIE, MEGA, coming=200 * MEGA)


def test_what_is_joined_counts_for_who_joined():
    stored(Example, ALICE, 1000)
    restore.join(ALICE, CHARLIE)
    assert storage.in_use(CHARLIE) == 1000 and storage.in_use(ALICE) == 0
    mydata.erase(CHARLIE)
    assert not LedgerEntry.objects.exists()


def test_rows_from_before_the_account_are_entered():
    row = stored(Analysis, ALICE, 1000)
    LedgerEntry.objects.all().delete()
    LedgerEntry.objects.create(place="analyses/gone", visitor=ALICE, bytes=5)
    storage.reconcile()
    assert storage.in_use(ALICE) == 1000 and LedgerEntry.objects.get().place == f"analyses/{row.public_id}"


def test_images_count_as_they_are_stored_not_as_they_were_sent(settings):
    images = [SimpleUploadedFile("a.png", saved(photo(64)).getvalue())]
    intake.store_photos(ALICE, images)
    assert storage.in_use(ALICE) == Example.objects.get().size_bytes > 0
    settings.SEGAPP_STORAGE_BYTES = storage.in_use(ALICE) + images[0].size + 10
    with pytest.raises(StorageFull):
        intake.store_photos(ALICE, [SimpleUploadedFile("b.png", saved(photo(64)).getvalue())])
    assert Example.objects.count() == 1 and len(list((settings.MEDIA_ROOT / "examples").iterdir())) == 1


def test_an_upload_that_does_not_fit_is_refused_by_its_length(alice, settings):
    settings.SEGAPP_STORAGE_BYTES = MEGA
    file = io.BytesIO(b"\0" * (2 * MEGA))
    file.name = "a.png"
    answer = alice.post("/api/segment", {"file": file})
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "storage_full"
    settings.SEGAPP_STORAGE_BYTES = 2**40
    settings.SEGAPP_FREE_BYTES = 2**60
    file.seek(0)
    answer = alice.post("/api/segment", {"file": file})
    assert answer.status_code == 507 and answer.json()["error"]["code"] == "disk_full"


def test_bodies_on_their_way_count(settings):
    settings.SEGAPP_ADDRESS_BYTES = 25 * MEGA
    first = upload_admission.ask({}, "/api/batch", "203.0.113.7", 10 * MEGA)
    second = upload_admission.ask({}, "/api/batch", "203.0.113.7", 10 * MEGA)
    assert not isinstance(first, str) and not isinstance(second, str)
    assert isinstance(upload_admission.ask({}, "/api/batch", "203.0.113.7", 10 * MEGA), str)
    other = upload_admission.ask({}, "/api/batch", "203.0.113.9", 10 * MEGA)
    first.done()
    third = upload_admission.ask({}, "/api/batch", "203.0.113.7", 10 * MEGA)
    assert not isinstance(third, str)
    for one in (second, third, other):
        one.done()
    assert not upload_admission._coming
