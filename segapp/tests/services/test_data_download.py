"""All of a visitor's data as a zip: nothing is missing, nothing of others, no secret."""

import io
import json
import zipfile

import pytest

from segapp.models import Example, Hook, ModelShare
from segapp.services import data_download, intake, restore, zips
from segapp.tests.services import test_mydata
from segapp.tests.services.test_mydata import own_media
from segapp.tests.views.rows import pairs

__all__ = ["own_media"]
pytestmark = pytest.mark.django_db


def downloaded(client) -> zipfile.ZipFile:
    response = client.get("/models/data.zip")
    assert response.headers["Content-Type"] == "application/zip" and response.streaming
    assert "no-store" in response.headers["Cache-Control"]
    return zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content)))


def test_every_kind_that_belongs_to_a_visitor_is_in_it():
    assert set(data_download.SHOWN) == set(restore.kinds())


def test_every_file_of_the_visitors_is_in_it_and_none_of_others(alice, charlie):
    model = test_mydata.fill(alice.visitor)
    test_mydata.fill(charlie.visitor)
    intake.store(alice.visitor, *pairs("../leaf").values(), draft=False)
    zipped = downloaded(alice)
    assert zipped.testzip() is None
    names = zipped.namelist()
    assert f"models/user_{model.public_id}.pth" in names and f"models/user_{model.public_id}.webp" in names
    leaf = Example.objects.get(visitor=alice.visitor, stem__contains="leaf")
    assert [name for name in names if leaf.public_id[:8] in name and name.endswith("/mask.png")]
    assert not any(".." in name or name.startswith("/") for name in names)
    account = json.loads(zipped.read("account.json"))
    assert {row["stem"] for row in account["examples"]} == {"one", leaf.stem}
    everything = b"".join(zipped.read(name) for name in names) + "".join(names).encode()
    for kind in (Example, type(model)):
        for row in kind.objects.filter(visitor=charlie.visitor):
            assert row.public_id.encode() not in everything


def test_no_secret_is_in_it(alice):
    model = test_mydata.fill(alice.visitor)
    hook = Hook.objects.create(visitor=alice.visitor, url="https://example.org/", secret="the hook's secret")
    text = downloaded(alice).read("account.json").decode()
    assert hook.url in text and hook.secret not in text and alice.visitor not in text
    assert ModelShare.objects.get(model=model).token not in text and "digest" not in text


def test_a_file_that_goes_meanwhile_is_left_out(alice):
    model = test_mydata.fill(alice.visitor)
    members = data_download.members(alice.visitor)
    next(members)
    model.path.unlink()
    zipped = zipfile.ZipFile(io.BytesIO(b"".join(zips.stream(members))))
    assert zipped.testzip() is None and f"models/user_{model.public_id}.pth" not in zipped.namelist()


def test_the_page_of_models_offers_it(alice):
    test_mydata.fill(alice.visitor)
    assert "/models/data.zip" in alice.get("/models/").content.decode()
