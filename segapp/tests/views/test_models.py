"""The models page: versions, activation, names, downloads, trash."""

import json

import pytest

from registry import services as registry
from registry.models import FileState, UserModel
from registry.tests.test_services import make


def text(response) -> str:
    return response.content.decode()


def test_without_a_model_the_page_says_how_to_get_one(alice):
    page = text(alice.get("/models/"))
    assert "No model of your own yet" in page and "Train my model" in page


def test_versions_are_listed_newest_first_with_the_active_one_marked(alice, charlie):
    make(alice.visitor, metrics={"miou": 0.61, "comparison": {"kind": "base", "miou": 0.4}})
    newer = make(alice.visitor, active=True)
    UserModel.objects.filter(pk=newer.pk).update(name="Newer")
    page = text(alice.get("/models/"))
    assert page.index(">Newer</a></h2>") < page.index(">Cells</a></h2>")
    assert page.count('<span class="tag good">Active</span>') == 1
    assert "0.61" in page and "(base model 0.40)" in page and "Storage used" in page
    assert "Cells" not in text(charlie.get("/models/"))


def test_activating_offers_the_way_back(alice):
    model = make(alice.visitor)
    response = alice.post(f"/models/{model.public_id}/activate/", {"next": "/analyze/"})
    assert response["Location"] == "/analyze/"
    assert registry.resolve(alice.visitor).model == model
    page = text(alice.get("/analyze/"))
    assert "is now used on every page" in page and 'action="/reset/"' in page and "Undo" in page


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_the_way_back_never_leads_elsewhere(alice, elsewhere):
    model = make(alice.visitor)
    response = alice.post(f"/models/{model.public_id}/activate/", {"next": elsewhere})
    assert response["Location"] == "/models/"


def test_from_the_pill_the_answer_is_the_fresh_pill(alice):
    model = make(alice.visitor)
    headers = {"HX-Request": "true", "HX-Target": "status"}
    response = alice.post(f"/models/{model.public_id}/activate/", headers=headers)
    assert "Using your fine-tuned model" in text(response)
    assert f'data-model-id="{model.public_id}"' in text(response)
    assert 'id="messages"' in text(response) and "hx-swap-oob" in text(response)
    assert "model-changed" in response["HX-Trigger-After-Settle"]


@pytest.mark.parametrize("verb", ["activate", "rename", "delete", "undelete"])
def test_anothers_model_looks_like_none(alice, charlie, verb):
    model = make(alice.visitor)
    refused = charlie.post(f"/models/{model.public_id}/{verb}/", {"name": "Mine"})
    missing = charlie.post(f"/models/{'0' * 32}/{verb}/", {"name": "Mine"})
    assert refused.status_code == missing.status_code == 404
    model.refresh_from_db()
    assert (model.name, model.active, model.trashed_at) == ("Cells", False, None)


def test_a_model_gets_another_name(alice):
    model = make(alice.visitor)
    alice.post(f"/models/{model.public_id}/rename/", {"name": "  Spots  "})
    model.refresh_from_db()
    assert model.name == "Spots"
    for wrong in ("", "   ", "x" * 81):
        alice.post(f"/models/{model.public_id}/rename/", {"name": wrong})
    model.refresh_from_db()
    assert model.name == "Spots" and "up to 80 letters" in text(alice.get("/models/"))


def test_a_deleted_model_can_be_brought_back(alice):
    model = make(alice.visitor, active=True)
    alice.post(f"/models/{model.public_id}/delete/")
    page = text(alice.get("/models/"))
    assert "is in the trash" in page and "Restore" in page
    assert f'action="/models/{model.public_id}/undelete/"' in page
    assert not registry.resolve(alice.visitor).is_custom
    alice.post(f"/models/{model.public_id}/undelete/")
    assert list(registry.versions(alice.visitor)) == [model]


def test_weights_and_card_are_downloaded_by_the_owner_only(alice, charlie):
    model = make(alice.visitor)
    weights = alice.get(f"/models/{model.public_id}/download/pth/")
    assert b"".join(weights.streaming_content) == model.path.read_bytes()
    assert weights["Content-Disposition"] == f'attachment; filename="{model.key}.pth"'
    card = json.loads(alice.get(f"/models/{model.public_id}/download/card/").content)
    assert (card["key"], card["sha256"]) == (model.key, model.sha256)
    for kind in ("pth", "card"):
        assert charlie.get(f"/models/{model.public_id}/download/{kind}/").status_code == 404
    model.path.unlink()
    assert alice.get(f"/models/{model.public_id}/download/pth/").status_code == 404


def test_a_version_whose_file_is_lost_says_so_and_cannot_be_activated(alice):
    model = make(alice.visitor, file_state=FileState.MISSING)
    model.path.unlink()
    page = text(alice.get("/models/"))
    assert "File missing" in page and f"/models/{model.public_id}/activate/" not in page
    assert alice.post(f"/models/{model.public_id}/activate/").status_code == 404
