"""The JSON API without workers: shapes, owners, refusals. The whole flow runs in processes/test_lifecycle.py."""

import io
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from registry.models import UserModel
from registry.tests.test_services import make
from segapp.models import Analysis, Example, State, TrainingRun
from segapp.services import restore
from segapp.tests.imaging.drawing import photo, saved, shapes


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def upload(name: str, file: io.BytesIO) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, file.getvalue())


def pair(stem: str, mask: io.BytesIO | None = None) -> dict[str, list[SimpleUploadedFile]]:
    drawn = mask or saved(shapes([0, 1]))
    return {"images": [upload(f"{stem}.png", saved(photo(96)))], "masks": [upload(f"{stem}.png", drawn)]}


def test_health_says_what_answers_and_sets_the_csrf_cookie(alice):
    response = alice.get("/api/health")
    found = response.json()
    assert {"status", "device", "active_model", "active_model_name", "base", "workers", "notice"} <= found.keys()
    assert found["active_model"] == found["base"]["key"] and found["notice"] is None
    assert "csrftoken" in response.cookies


def test_the_first_answer_makes_a_visitor_with_a_signed_cookie(db):
    cookie = Client().get("/api/health").cookies["segapp_visitor"]
    assert cookie["httponly"] and cookie["samesite"] == "Lax" and int(cookie["max-age"]) >= 31_000_000


@pytest.mark.fault(42)
@pytest.mark.parametrize("change", [lambda v: v[:-2] + "xx", lambda v: "0" * 32 + v[32:], lambda v: v.split(":")[0]])
def test_a_tampered_cookie_is_a_new_visitor(alice, change):
    make(alice.visitor, active=True)
    stranger = Client()
    stranger.cookies["segapp_visitor"] = change(alice.cookies["segapp_visitor"].value)
    response = stranger.get("/api/models")
    assert response.json() == {"models": []}
    assert "segapp_visitor" in response.cookies


@pytest.mark.fault(44)
@pytest.mark.parametrize("address", ["finetune", "segment", "load-user-model", "reset-to-base-model"])
def test_a_post_without_a_csrf_token_is_forbidden(db, address):
    response = Client(enforce_csrf_checks=True).post(f"/api/{address}")
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "csrf"


def test_a_training_is_accepted_and_can_be_followed_by_its_owner_only(alice, charlie):
    response = alice.post(
        "/api/finetune", {**pair("one"), "name": "Cells", "classes": json.dumps([{"id": 1, "name": "cell"}])}
    )
    assert response.status_code == 202
    address = response.json()["status_url"]
    found = alice.get(address).json()
    assert found["state"] == "queued" and found["progress"] == 0 and found["loss"] == []
    run = TrainingRun.objects.get()
    assert (run.name, [c["name"] for c in run.classes]) == ("Cells", ["background", "cell"])
    for method in (charlie.get, lambda url: charlie.post(url + "/stop", {"keep": "true"})):
        assert method(address).status_code == 404
    unknown = charlie.get("/api/finetune/" + "0" * 32).json()
    assert charlie.get(address).json() == unknown, "another's run looks like none"


@pytest.mark.fault(39)
def test_a_second_training_is_refused_while_one_is_under_way(alice):
    first = alice.post("/api/finetune", pair("one")).json()
    response = alice.post("/api/finetune", pair("two"))
    assert response.status_code == 409 and response.json()["error"]["code"] == "already_training"
    assert first["run_id"] in response["Location"]
    assert Example.objects.count() == 1, "nothing of the second was stored"


def test_every_faulty_file_is_named_and_nothing_is_stored(alice, tmp_path):
    files = {
        "images": [
            upload("cut.png", io.BytesIO(saved(photo(96)).getvalue()[:900])),
            upload("alone.png", saved(photo(96))),
        ],
        "masks": [upload("cut.png", saved(shapes([0, 1]))), upload("other.png", saved(shapes([0, 1])))],
    }
    response = alice.post("/api/finetune", files)
    assert response.status_code == 422
    assert {entry["file"] for entry in response.json()["error"]["files"]} == {"alone.png", "other.png"}
    both = {"images": [upload("a.png", io.BytesIO()), upload("b.png", io.BytesIO(b"<html>"))], "masks": []}
    both["masks"] = [upload("a.png", saved(shapes([0, 1]))), upload("b.png", saved(shapes([0, 1])))]
    response = alice.post("/api/finetune", both)
    assert {entry["file"] for entry in response.json()["error"]["files"]} == {"a.png", "b.png"}
    assert not Example.objects.exists() and not TrainingRun.objects.exists()
    assert not list(tmp_path.rglob("*.png"))


def test_a_mask_of_another_size_is_refused_with_both_sizes(alice):
    response = alice.post("/api/finetune", pair("one", saved(shapes([0, 1]).crop((0, 0, 50, 40)))))
    assert response.status_code == 422
    assert "50 × 40" in response.json()["error"]["message"] and "96 × 96" in response.json()["error"]["message"]


def test_a_queued_run_is_cancelled_at_once(alice):
    address = alice.post("/api/finetune", pair("one")).json()["status_url"]
    assert alice.post(address + "/stop", {"keep": "false"}).json()["state"] == State.CANCELLED
    assert alice.post("/api/finetune", pair("two")).status_code == 202


def test_models_are_listed_activated_and_deleted_by_their_owner_only(alice, charlie):
    model = make(alice.visitor)
    assert [row["id"] for row in alice.get("/api/models").json()["models"]] == [model.public_id]
    assert charlie.get("/api/models").json() == {"models": []}
    assert charlie.post(f"/api/models/{model.public_id}/activate").status_code == 404
    assert charlie.delete(f"/api/models/{model.public_id}").status_code == 404
    assert alice.post(f"/api/models/{model.public_id}/activate").json()["active_model"] == model.key
    assert alice.get("/api/health").json()["active_model_name"] == "Custom Model"
    assert alice.delete(f"/api/models/{model.public_id}").status_code == 200
    assert alice.get("/api/models").json() == {"models": []}
    assert alice.get("/api/health").json()["active_model_name"] != "Custom Model"


def test_reset_goes_back_to_the_base(alice):
    make(alice.visitor, active=True)
    response = alice.post("/api/reset-to-base-model")
    assert response.json()["active_model"] == alice.get("/api/health").json()["base"]["key"]
    assert not UserModel.objects.filter(active=True).exists()


@pytest.mark.fault(40)
def test_a_reset_during_a_training_keeps_its_model_inactive(alice):
    alice.post("/api/finetune", pair("one"))
    alice.post("/api/reset-to-base-model")
    assert TrainingRun.objects.get().activate is False


def test_a_browser_without_its_cookie_restores_by_token(alice):
    model = make(alice.visitor)
    browser = Client()
    sent = {"user_id": model.public_id, "token": restore.token(alice.visitor)}
    response = browser.post("/api/load-user-model", sent)
    assert response.status_code == 200 and response.json()["model_key"] == model.key
    assert browser.get("/api/health").json()["active_model"] == model.key, "the cookie is the old visitor's again"


def test_a_valid_token_restores_the_visitor_even_when_the_file_is_gone(alice):
    model, other = make(alice.visitor), make(alice.visitor)
    model.path.unlink()
    browser = Client()
    response = browser.post("/api/load-user-model", {"user_id": model.public_id, "token": restore.token(alice.visitor)})
    assert response.status_code == 404 and response.json()["error"]["code"] == "not_found"
    assert other.public_id in {row["id"] for row in browser.get("/api/models").json()["models"]}


@pytest.mark.fault(43)
def test_a_wrong_token_and_a_foreign_model_are_told_apart(alice, charlie):
    model = make(alice.visitor)
    wrong = charlie.post("/api/load-user-model", {"user_id": model.public_id, "token": "wrong"})
    assert wrong.status_code == 404 and wrong.json()["error"]["code"] == "invalid_token"
    foreign = charlie.post("/api/load-user-model", {"user_id": model.public_id})
    unknown = charlie.post("/api/load-user-model", {"user_id": "0" * 32})
    assert foreign.status_code == 404 and foreign.json() == unknown.json()
    assert foreign.json()["error"]["code"] == "not_found"


def test_a_lost_file_shows_in_health_until_dismissed_or_reset(alice):
    model = make(alice.visitor, active=True)
    model.path.unlink()
    found = alice.get("/api/health").json()
    assert found["active_model"] == found["base"]["key"] and model.name in found["notice"]
    assert alice.get("/api/health").json()["notice"]
    alice.post("/api/reset-to-base-model")
    assert alice.get("/api/health").json()["notice"] is None


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\x80\x04K\x01."], ids=["empty", "html", "pickle"])
def test_what_is_no_image_is_refused(alice, content):
    response = alice.post("/api/segment", {"file": SimpleUploadedFile("photo.png", content)})
    assert response.status_code == 422
    assert response.json()["error"]["files"][0]["file"] == "photo.png"


def test_a_full_server_answers_503_and_says_when_to_come_back(alice, settings):
    settings.SEGAPP_QUEUE = 0
    response = alice.post("/api/segment", {"file": upload("one.png", saved(photo(96)))})
    assert response.status_code == 503 and response.json()["error"]["code"] == "overloaded"
    assert int(response["Retry-After"]) >= 2
    assert not Analysis.objects.exists()


def test_an_image_that_takes_longer_than_its_request_can_be_asked_for(alice, charlie, monkeypatch):
    monkeypatch.setattr("segapp.api.views.WAIT_SECONDS", 0)
    response = alice.post("/api/segment", {"file": upload("one.png", saved(photo(96)))})
    assert response.status_code == 503 and response.json()["error"]["code"] == "busy"
    address = response["Location"]
    assert address in response.json()["error"]["message"] and alice.get(address).status_code == 503
    assert charlie.get(address).status_code == 404
    Analysis.objects.update(state=State.DONE, model_key="mit_b3")
    assert alice.get(address).json()["model_key"] == "mit_b3"
    Analysis.objects.update(state=State.FAILED, message="It did not work.", worker="host:1")
    assert alice.get(address).status_code == 500
