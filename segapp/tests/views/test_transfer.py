"""Moving to another device through the pages: the code is shown once, a look at the link uses nothing up."""

import re

import pytest
from django.test import Client

from registry.models import UserModel
from registry.tests.test_services import make
from segapp.models import TransferCode
from segapp.services import limits, transfer
from segapp.services.errors import RateLimited
from segapp.tests.views.rows import HTMX
from segapp.visitors import COOKIE


def text(response) -> str:
    return response.content.decode()


def made_by(client, **headers) -> str:
    page = text(client.post("/transfer/make/", headers=headers))
    found = re.search(r"<strong>([0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4})</strong>", page)
    assert found, page
    return found.group(1)


def test_a_code_is_shown_once_as_signs_link_and_image(alice):
    response = alice.post("/transfer/make/", headers=HTMX)
    page = text(response)
    assert "<svg" in page and "style=" not in page and "<html" not in page
    code = re.search(r"<strong>([0-9A-Z-]{14})</strong>", page)
    assert code and f'value="http://testserver/transfer/?code={code.group(1)}"' in page
    assert "no-store" in response["Cache-Control"]
    code = made_by(alice)
    again = text(alice.get("/models/"))
    assert code not in again and "good until" in again


def test_the_other_browser_becomes_the_visitor(alice, charlie):
    model = make(alice.visitor, active=True)
    response = charlie.post("/transfer/", {"code": made_by(alice).lower()})
    assert response["Location"] == "/models/"
    page = text(charlie.get("/models/"))
    assert "the same visitor, with 1 model." in page and f"model-{model.public_id}" in page
    assert charlie.cookies[COOKIE].value.split(":")[0] == alice.visitor
    assert f'data-model-id="{model.public_id}"' in page and 'data-restore-token=""' not in page


def test_a_look_at_the_link_uses_nothing_up_and_tells_nothing(alice, charlie):
    code = made_by(alice)
    for _ in range(3):
        good, wrong = charlie.get(f"/transfer/?code={code}"), charlie.get("/transfer/?code=0000-0000-0000")
        assert good.status_code == wrong.status_code == 200
        assert text(good).replace(code, "X").count("Bring") == text(wrong).replace("0000-0000-0000", "X").count("Bring")
    assert TransferCode.objects.get().claimed_at is None
    assert charlie.post("/transfer/", {"code": code}).status_code == 302


def test_the_page_says_what_will_join_before_it_does(alice, charlie):
    make(charlie.visitor)
    page = text(charlie.get(f"/transfer/?code={made_by(alice)}"))
    assert "data of its own" in page and "Model versions" in page and "only if you made it yourself" in page
    assert "data of its own" not in text(Client().get("/transfer/"))


@pytest.mark.parametrize("code", ["0000-0000-0000", "nonsense", "<b>", "x" * 61, ""])
def test_a_wrong_code_is_refused_in_plain_words(charlie, code):
    response = charlie.post("/transfer/", {"code": code})
    assert response.status_code == 422 and 'role="alert"' in text(response)


def test_a_code_needs_the_csrf_token(alice):
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/transfer/", {"code": made_by(alice)}).status_code == 403
    assert TransferCode.objects.get().claimed_at is None


def test_a_code_can_be_revoked_by_its_maker_only(alice, charlie):
    code = made_by(alice)
    row = TransferCode.objects.get()
    assert charlie.post(f"/transfer/{row.public_id}/revoke/").status_code == 404
    assert alice.post(f"/transfer/{row.public_id}/revoke/").status_code == 302
    assert charlie.post("/transfer/", {"code": code}).status_code == 422
    assert alice.post(f"/transfer/{row.public_id}/revoke/").status_code == 404


def test_ones_own_code_is_said_to_be_for_the_other_browser(alice):
    alice.post("/transfer/", {"code": made_by(alice)})
    assert "in the other browser" in text(alice.get("/models/")) and TransferCode.objects.get().claimed_at is None


def test_too_many_tries_are_held_up(alice, charlie, monkeypatch):
    code = made_by(alice)

    def often(request, limit):
        raise RateLimited(f"{limit.message} Try again in 60 seconds.", retry_after=60)

    monkeypatch.setattr(limits, "check", often)
    response = charlie.post("/transfer/", {"code": code})
    assert response.status_code == 429 and "Try again in 60 seconds" in text(response)
    assert charlie.get("/transfer/").status_code == 200 and TransferCode.objects.get().claimed_at is None


def test_signing_out_leaves_the_other_browser_empty(alice):
    make(alice.visitor, active=True)
    phone = Client()
    phone.post("/transfer/", {"code": made_by(alice)})
    assert "Cells" in text(phone.get("/models/"))
    alice.post("/transfer/sign-out-others/")
    assert "Cells" in text(alice.get("/models/")) and "Cells" not in text(phone.get("/models/"))
    assert UserModel.objects.get().visitor != alice.visitor and UserModel.objects.get().active


def test_codes_are_made_by_post_only(alice):
    assert alice.get("/transfer/make/").status_code == 405
    assert transfer.listed(alice.visitor).count() == 0
