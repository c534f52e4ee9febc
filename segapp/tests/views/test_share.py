"""Share links on pages and API. Alice owns the model, Charlie is a guest with the link."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from registry import services as registry
from registry.models import UserModel
from registry.tests.test_services import make
from segapp.models import Analysis, ModelShare, State
from segapp.services import analyses, sharing
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.views.rows import analyzed


def text(response) -> str:
    return response.content.decode()


def image(name: str = "leaf.png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, saved(photo(64)).getvalue())


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """There is no worker here; nobody need wait for one."""
    monkeypatch.setattr(analyses, "wait", lambda analysis, seconds: analysis)


@pytest.fixture
def shared(alice) -> ModelShare:
    model = make(alice.visitor, active=True)
    UserModel.objects.filter(pk=model.pk).update(classes=[{"id": 1, "name": "leaf", "color": "#00ff00"}])
    return sharing.create(model, "greenhouse")


def test_links_are_made_listed_and_revoked_on_the_models_page(alice):
    model = make(alice.visitor)
    response = alice.post(f"/models/{model.public_id}/share/", {"label": "greenhouse"})
    share = ModelShare.objects.get()
    page = text(alice.get(response["Location"]))
    assert f"http://testserver/shared/{share.token}/" in page and "greenhouse" in page and "not used yet" in page
    alice.post(f"/models/shares/{share.token}/revoke/")
    assert not ModelShare.objects.exists() and share.token not in text(alice.get("/models/"))


def test_anothers_model_cannot_be_shared_and_anothers_link_not_revoked(charlie, shared):
    assert charlie.post(f"/models/{shared.model.public_id}/share/").status_code == 404
    assert charlie.post(f"/models/shares/{shared.token}/revoke/").status_code == 404
    assert ModelShare.objects.count() == 1


def test_a_guest_sees_the_model_and_nothing_of_its_owner(alice, charlie, shared):
    analyzed(alice.visitor, title="secret.jpg", model=shared.model, shared=True)
    make(alice.visitor)
    page = text(charlie.get(f"/shared/{shared.token}/"))
    assert "Cells" in page and "leaf" in page
    for hidden in (shared.model.public_id, alice.visitor, "secret.jpg", "greenhouse", shared.model.sha256):
        assert hidden not in page
    model = shared.model.public_id
    for address in (f"/files/models/{model}/preview", f"/models/{model}/download/pth/", f"/models/{model}/export/pth/"):
        assert charlie.get(address).status_code == 404
    for verb in ("activate", "rename", "delete", "share", "export/pth"):
        assert charlie.post(f"/models/{model}/{verb}/").status_code == 404


def test_a_guests_image_goes_to_the_shared_model_and_its_result_to_the_guest(alice, charlie, shared):
    own = make(charlie.visitor, active=True)
    response = charlie.post(f"/shared/{shared.token}/", {"file": image()})
    analysis = Analysis.objects.get()
    assert response["Location"] == f"/shared/{shared.token}/{analysis.public_id}/"
    assert (analysis.visitor, analysis.model_id, analysis.shared) == (charlie.visitor, shared.model_id, True)
    assert "Analyzing leaf.png" in text(charlie.get(response["Location"]))
    assert alice.get(response["Location"]).status_code == 404, "the owner does not see guests' images"
    assert registry.resolve(charlie.visitor).model == own and registry.resolve(alice.visitor).model == shared.model
    assert "last used" in text(alice.get("/models/"))


def test_a_finished_result_says_that_it_is_a_shared_models(charlie, shared):
    stamp = {"model": shared.model, "model_key": shared.model.key, "model_name": "Cells", "shared": True}
    row = analyzed(charlie.visitor, **stamp)
    UserModel.objects.filter(pk=shared.model_id).update(name="Renamed since")
    for address in (f"/shared/{shared.token}/{row.public_id}/", f"/analyze/{row.public_id}/"):
        page = text(charlie.get(address))
        answered = page[page.index('class="answered"') :][:300]
        assert "Shared model" in answered and "“Cells”" in answered
        assert "Custom Model" not in answered and "Renamed since" not in answered


@pytest.mark.parametrize("how", ["revoked", "deleted", "never there"])
def test_a_link_that_is_over_says_so_in_plain_words(alice, charlie, shared, how):
    token = shared.token
    row = analyzed(charlie.visitor, model=shared.model, shared=True)
    if how == "revoked":
        shared.delete()
    elif how == "deleted":
        alice.post(f"/models/{shared.model.public_id}/delete/")
    else:
        token = "0" * 32
    for address in (f"/shared/{token}/", f"/shared/{token}/{row.public_id}/"):
        response = charlie.get(address)
        assert response.status_code == 404 and "This link is no longer valid" in text(response)
    assert charlie.post(f"/shared/{token}/", {"file": image()}).status_code == 404
    assert charlie.get(f"/analyze/{row.public_id}/").status_code == 200, "what the guest had stays the guest's"


def test_what_is_no_image_is_refused_by_name(charlie, shared):
    response = charlie.post(f"/shared/{shared.token}/", {"file": SimpleUploadedFile("x.png", b"<html>")})
    assert response.status_code == 422 and "x.png" in text(response) and not Analysis.objects.exists()
    assert charlie.post(f"/shared/{shared.token}/").status_code == 422


def test_the_page_is_not_to_be_indexed(charlie, shared):
    response = charlie.get(f"/shared/{shared.token}/")
    assert "noindex" in text(response) and "no-store" in response["Cache-Control"]


# --- API ----------------------------------------------------------------------------------------------------


def finish(monkeypatch) -> None:
    """A worker that answers at once, with what was pinned."""

    def done(analysis, seconds):
        model = analysis.model
        analysis.state, analysis.model_key, analysis.model_sha256 = State.DONE, model.key, model.sha256
        analysis.save()
        return analysis

    monkeypatch.setattr(analyses, "wait", done)


def test_segment_takes_a_share_token(charlie, shared, monkeypatch):
    finish(monkeypatch)
    answer = charlie.post("/api/segment", {"file": image(), "share": shared.token}).json()
    assert answer["model_sha256"] == shared.model.sha256 and answer["model_key"].startswith("shared_")
    assert shared.model.public_id not in str(answer)
    assert Analysis.objects.get().visitor == charlie.visitor


def test_segment_with_a_token_that_is_over_is_a_404(charlie, shared):
    shared.delete()
    response = charlie.post("/api/segment", {"file": image(), "share": shared.token})
    assert response.status_code == 404 and response.json()["error"]["code"] == "not_found"
    assert not Analysis.objects.exists()


def test_links_by_api(alice, charlie):
    model = make(alice.visitor)
    made = alice.post(f"/api/models/{model.key}/shares", {"label": "team"})
    assert made.status_code == 201 and made.json()["url"].endswith(f"/shared/{made.json()['token']}/")
    listed = alice.get(f"/api/models/{model.public_id}/shares").json()["shares"]
    assert [(row["token"], row["label"], row["uses"]) for row in listed] == [(made.json()["token"], "team", 0)]
    for response in (
        charlie.get(f"/api/models/{model.public_id}/shares"),
        charlie.post(f"/api/models/{model.public_id}/shares"),
        charlie.delete(f"/api/shares/{made.json()['token']}"),
    ):
        assert response.status_code == 404
    assert alice.delete(f"/api/shares/{made.json()['token']}").status_code == 200
    assert not ModelShare.objects.exists()


def test_a_model_is_renamed_by_api(alice, charlie):
    model = make(alice.visitor)
    assert alice.post(f"/api/models/{model.public_id}/rename", {"name": " Spots "}).json()["name"] == "Spots"
    assert alice.post(f"/api/models/{model.public_id}/rename", {"name": " "}).status_code == 422
    assert charlie.post(f"/api/models/{model.public_id}/rename", {"name": "Mine"}).status_code == 404
    model.refresh_from_db()
    assert model.name == "Spots"
