"""Batches with media in a bucket: sent to one machine, done by another, taken home from a third."""

import io
import zipfile

import pytest

from segapp.models import Batch, State
from segapp.services import batch_results, batches, zips
from segapp.tests.batch.sending import many
from segapp.tests.buckets import Bucket, new_bucket, s3_server
from segapp.worker import batch as worker

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def endpoint():
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(endpoint, settings) -> Bucket:
    made = new_bucket(endpoint)
    settings.STORAGES = {**settings.STORAGES, "default": made.storage()}
    return made


def held(bucket: Bucket) -> list[str]:
    """What the bucket has of batches, without the batch's own name."""
    return [name.split("/", 2)[2] for name in bucket.names() if name.startswith("batches/")]


def test_a_batch_is_sent_here_done_there_and_taken_home_from_a_third_machine(bucket, settings, tmp_path, net):
    batch = batches.submit("alice", many(2))
    assert held(bucket) == ["sources/00001", "sources/00002"]
    settings.MEDIA_ROOT = tmp_path / "worker"
    worker.run(batch.pk)
    batch = Batch.objects.get()
    assert (batch.state, batch.done) == (State.DONE, 2)
    assert not [name for name in held(bucket) if name.startswith("sources/")], "no copies of what was sent are left"
    settings.MEDIA_ROOT = tmp_path / "third"
    whole = io.BytesIO(b"".join(zips.stream(batch_results.members(batch))))
    names = zipfile.ZipFile(whole).namelist()
    assert names == ["classes.csv", *(f"{kind}/street{k}.{end}" for k in (0, 1) for kind, end in KINDS)]
    assert batches.file_of(batches.item_of(batch, 1), "small").is_file()
    batches.delete(batch)
    assert held(bucket) == []


KINDS = (("masks", "png"), ("overlays", "jpg"))


def test_a_storage_that_does_not_answer_costs_no_image(bucket, settings, tmp_path, net, monkeypatch):
    batch = batches.submit("alice", many(2))
    settings.MEDIA_ROOT = tmp_path / "worker"
    with monkeypatch.context() as patch:
        patch.setattr(worker.store, "fetch", unreachable)
        worker.run(batch.pk)
    batch = Batch.objects.get()
    assert (batch.state, batch.attempts, batch.failed) == (State.RUNNING, 1, 0), "left for the reaper to take back"
    assert not batch.items.exclude(attempts=0).exists()
    Batch.objects.update(state=State.QUEUED, lease="")
    worker.run(batch.pk)
    assert (Batch.objects.get().state, Batch.objects.get().done) == (State.DONE, 2)


def unreachable(path, newer=False):
    raise worker.StoreUnreachable("The storage of files could not fetch it.")
