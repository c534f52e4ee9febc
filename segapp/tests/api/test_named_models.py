"""Calls that name a model: the one that answers need not be the active one; and models as files."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from registry import services as registry
from registry.runtime import Runtime
from segapp.api import views
from segapp.models import Analysis, Batch, Export, VideoJob
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.planting import plant
from segapp.worker import exports as export_work
from segapp.worker import networks

pytestmark = pytest.mark.django_db
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 64


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path, monkeypatch):
    settings.MEDIA_ROOT = tmp_path
    runtime = Runtime(tmp_path, settings.SEGAPP_WEIGHTS, "cpu", 1 << 30)
    monkeypatch.setattr(networks, "runtime", lambda: runtime)
    monkeypatch.setattr(views, "WAIT_SECONDS", 0)


def upload(name: str, file: io.BytesIO) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, file.getvalue())


def send(client, call: str, model: str):
    """(answer, the row that it made or None)."""
    image = upload("a.png", saved(photo(64)))
    field, kind, file = {
        "segment": ("file", Analysis, image),
        "batch": ("files", Batch, image),
        "video": ("file", VideoJob, SimpleUploadedFile("a.mp4", MP4)),
    }[call]
    answer = client.post(f"/api/{call}", {field: file, "model": model})
    return answer, kind._default_manager.first()


@pytest.mark.parametrize("call", ["segment", "batch", "video"])
def test_the_named_model_is_pinned_and_the_active_one_stays_active(alice, call):
    older, newer = plant(alice.visitor, "older", 1), plant(alice.visitor, "newer", 2)
    for name in (older.public_id, older.key):
        _, row = send(alice, call, name)
        assert row.model == older
        row.delete()
    _, row = send(alice, call, "")
    assert row.model == newer
    row.delete()
    _, row = send(alice, call, registry.current_base().key)
    assert row.model is None and row.base_key == registry.current_base().key
    assert registry.resolve(alice.visitor).model == newer


@pytest.mark.parametrize("call", ["segment", "batch", "video"])
def test_another_visitors_model_is_the_same_404_as_none(alice, charlie, call):
    model = plant(charlie.visitor, "hers", 1)
    refused, row = send(alice, call, model.public_id)
    unknown, _ = send(alice, call, "0" * 32)
    assert refused.status_code == unknown.status_code == 404 and refused.json() == unknown.json()
    assert row is None


def test_a_model_is_exported_and_its_file_fetched(alice, charlie):
    model = plant(alice.visitor, "discs", 1)
    address = f"/api/models/{model.public_id}/exports/safetensors"
    assert alice.get(address).status_code == 404, "it was not asked for yet"
    asked = alice.post(address)
    assert asked.status_code == 202 and asked.json()["state"] == "queued" and asked.json()["file_url"] is None
    export_work.run(Export.objects.get().pk)
    done = alice.get(asked.json()["status_url"])
    assert done.status_code == 200 and done.json()["state"] == "done", done.json()
    file = alice.get(done.json()["file_url"])
    assert sum(map(len, file.streaming_content)) == done.json()["size_bytes"]
    assert alice.post(f"/api/models/{model.public_id}/exports/exe").status_code == 404
    assert charlie.post(address).status_code == charlie.get(address).status_code == 404
