"""API keys: what they stand for, what they may do, and how they end."""

from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from registry.tests.test_services import make as make_model
from segapp.models import ApiKey, Scope
from segapp.services import api_keys, restore, transfer
from segapp.services.errors import UserError

ALICE, CHARLIE = "a" * 32, "c" * 32
pytestmark = pytest.mark.django_db


@pytest.fixture
def program():
    """A client that checks CSRF as a server does, and has no cookie."""
    return Client(enforce_csrf_checks=True)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def code(response) -> str:
    return response.json()["error"]["code"]


def test_a_key_stands_for_its_visitor_without_cookie_and_token(program):
    model = make_model(ALICE, active=False)
    _, key = api_keys.make(ALICE, "robot")
    listed = program.get("/api/models", headers=bearer(key))
    assert [row["id"] for row in listed.json()["models"]] == [model.public_id]
    renamed = program.post(f"/api/models/{model.public_id}/rename", {"name": "cells"}, headers=bearer(key))
    assert renamed.status_code == 200 and renamed.json()["name"] == "cells"
    assert not renamed.cookies and not listed.cookies, "a cookie could do more than the key"


def test_without_a_key_the_token_is_still_asked_for(program):
    assert code(program.post("/api/keys", {"name": "robot"})) == "csrf"
    assert code(program.post("/api/keys", {"name": "robot"}, headers={"authorization": "Basic YTpi"})) == "csrf"


def test_a_key_is_made_listed_and_revoked_by_calls(program):
    _, first = api_keys.make(ALICE, "first")
    made = program.post("/api/keys", {"name": "second", "scope": "predict", "days": 3}, headers=bearer(first))
    assert made.status_code == 201 and {"id", "name", "scope", "key"} <= made.json().keys()
    second = made.json()
    listed = program.get("/api/keys", headers=bearer(first)).json()["keys"]
    assert [row["name"] for row in listed] == ["second", "first"]
    assert not any("key" in row for row in listed)
    assert program.get("/api/health", headers=bearer(second["key"])).status_code == 200
    gone = program.delete(f"/api/keys/{second['id']}", headers=bearer(first))
    assert (gone.status_code, gone.content) == (204, b"")
    refused = program.get("/api/health", headers=bearer(second["key"]))
    assert refused.status_code == 401 and code(refused) == "invalid_key"
    assert refused["WWW-Authenticate"] == "Bearer"


def test_a_key_is_kept_as_a_digest_only():
    row, key = api_keys.make(ALICE, "robot")
    assert key not in str({field.name: getattr(row, field.name) for field in ApiKey._meta.fields})
    assert len(key) > 40


@pytest.mark.parametrize("key", ["", "segapp_nobodys", "x" * 5000])
def test_what_is_not_a_key_is_a_401(program, key):
    assert program.get("/api/models", headers={"authorization": f"Bearer {key}"}).status_code == 401


def test_an_expired_key_is_a_401(program):
    row, key = api_keys.make(ALICE, "robot", days=1)
    assert program.get("/api/models", headers=bearer(key)).status_code == 200
    ApiKey.objects.filter(pk=row.pk).update(expires=timezone.now() - timedelta(seconds=1))
    assert program.get("/api/models", headers=bearer(key)).status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/api/keys"),
        ("post", "/api/keys"),
        ("post", "/api/finetune"),
        ("post", "/api/reset-to-base-model"),
        ("delete", "/api/models/1"),
        ("get", "/models/"),
    ],
)
def test_a_predict_key_may_do_nothing_else(program, method, path):
    _, key = api_keys.make(ALICE, "camera", Scope.PREDICT)
    refused = getattr(program, method)(path, headers=bearer(key))
    assert refused.status_code == 403, refused.content
    if path.startswith("/api/"):
        assert code(refused) == "out_of_scope"


def test_a_predict_key_may_segment(program):
    _, key = api_keys.make(ALICE, "camera", Scope.PREDICT)
    text = SimpleUploadedFile("a.png", b"no image")
    refused = program.post("/api/segment", {"file": text}, headers=bearer(key))
    assert refused.status_code in (422, 503), "it got as far as the file, or as the base that is not there"
    assert program.get("/api/segment/none", headers=bearer(key)).status_code == 404
    assert program.get("/files/analyses/none/mask", headers=bearer(key)).status_code == 404


def test_pages_forms_take_no_key(program):
    _, key = api_keys.make(ALICE, "robot")
    assert program.post("/reset/", headers=bearer(key)).status_code == 403
    assert program.post("/models/keys/", {"name": "x"}, headers=bearer(key)).status_code == 403


def test_another_visitors_key_cannot_be_revoked(program):
    row, _ = api_keys.make(ALICE, "robot")
    _, own = api_keys.make(CHARLIE, "robot")
    assert program.delete(f"/api/keys/{row.public_id}", headers=bearer(own)).status_code == 404
    assert ApiKey.objects.filter(pk=row.pk).exists()


def test_keys_join_and_move_with_their_visitor(program):
    model = make_model(ALICE, active=False)
    _, key = api_keys.make(CHARLIE, "robot")
    restore.join(CHARLIE, ALICE)
    assert [row["id"] for row in program.get("/api/models", headers=bearer(key)).json()["models"]] == [model.public_id]
    transfer.sign_out_others(ALICE)
    assert [row["id"] for row in program.get("/api/models", headers=bearer(key)).json()["models"]] == [model.public_id]


def test_a_visitor_has_a_limited_number_of_keys(monkeypatch):
    monkeypatch.setattr(api_keys, "MAX_KEYS", 2)
    for name in ("one", "two"):
        api_keys.make(ALICE, name)
    with pytest.raises(UserError) as full:
        api_keys.make(ALICE, "three")
    assert (full.value.status, full.value.code) == (409, "too_many_keys")


def test_the_last_use_is_noted(program):
    row, key = api_keys.make(ALICE, "robot")
    program.get("/api/health", headers=bearer(key))
    row.refresh_from_db()
    assert row.last_used is not None


def test_the_page_shows_a_key_once_and_revokes_it(alice):
    made = alice.post("/models/keys/", {"name": "lab robot", "scope": "all", "days": ""})
    page = made.content.decode()
    assert made.status_code == 200 and "segapp_" in page and "curl" in page
    listed = alice.get("/models/").content.decode()
    assert "lab robot" in listed and "segapp_visitor" not in listed and api_keys.PREFIX + "_" not in listed
    row = ApiKey.objects.get(name="lab robot")
    alice.post(f"/models/keys/{row.public_id}/revoke/")
    assert not ApiKey.objects.filter(pk=row.pk).exists()
    refused = alice.post("/models/keys/", {"name": ""}, headers={"hx-request": "true"})
    assert refused.status_code == 422 and b"needs a name" in refused.content
