"""A browser that lost its cookie gets its visitor back by a signed token, and only by that."""

import re
import time
from datetime import timedelta

import pytest
from django.core import signing
from django.test import Client

from registry.models import UserModel
from registry.tests.test_services import make
from segapp.models import RestoreUse
from segapp.services import restore
from segapp.visitors import current_id

ALICE, NEW = "a" * 32, "b" * 32


def test_a_token_gives_the_old_visitor_back(db):
    assert restore.restore(NEW, restore.token(ALICE))[0] == ALICE
    assert current_id(NEW) == NEW, "a visitor that owns nothing leaves no trace"


@pytest.mark.parametrize(
    "token",
    ["", "nonsense", signing.dumps(ALICE, salt="another"), restore.token(ALICE)[:-2] + "xx"],
    ids=["empty", "nonsense", "another salt", "changed"],
)
def test_a_token_that_does_not_verify_gives_nothing(db, token):
    with pytest.raises(restore.InvalidToken):
        restore.restore(NEW, token)


@pytest.mark.fault(42)
def test_a_rotated_key_still_verifies_through_the_fallbacks(db, settings):
    token = restore.token(ALICE)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another key"
    assert restore.restore(NEW, token)[0] == ALICE
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(restore.InvalidToken):
        restore.restore(NEW, token)


def test_what_the_new_visitor_made_joins_the_old_one(db, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    old, new = make(ALICE, active=True), make(NEW, active=True)
    assert restore.restore(NEW, restore.token(ALICE))[0] == ALICE
    assert set(UserModel.objects.filter(visitor=ALICE)) == {old, new}
    assert UserModel.objects.get(active=True) == old
    assert current_id(NEW) == ALICE, "cookies and tokens of the joined visitor lead on"
    assert restore.restore("c" * 32, restore.token(NEW))[0] == ALICE


def later(minutes: float) -> None:
    """Let every use lie so much further back."""
    for row in RestoreUse.objects.all():
        RestoreUse.objects.filter(pk=row.pk).update(used=row.used - timedelta(minutes=minutes))


def test_two_tabs_that_send_the_same_token_at_once_both_restore(db):
    token = restore.token(ALICE)
    first, second = restore.restore(NEW, token), restore.restore("c" * 32, token)
    assert first == second and first[0] == ALICE


def test_a_used_token_is_good_until_its_successor_is_used_and_for_ten_minutes(db):
    token = restore.token(ALICE)
    successor = restore.token(*restore.restore(NEW, token))
    later(24 * 60)
    assert restore.restore(NEW, token)[0] == ALICE, "its successor may have been lost on the way"
    restore.restore(NEW, successor)
    with pytest.raises(restore.InvalidToken):
        restore.restore(NEW, token)
    assert restore.restore(NEW, successor)[0] == ALICE


def test_a_token_whose_successor_was_used_at_once_is_good_for_ten_minutes(db):
    token = restore.token(ALICE)
    restore.restore(NEW, restore.token(*restore.restore(NEW, token)))
    later(9)
    assert restore.restore(NEW, token)[0] == ALICE
    later(2)
    with pytest.raises(restore.InvalidToken):
        restore.restore(NEW, token)


def test_tokens_of_other_browsers_are_not_used_up(db):
    mine, other = restore.token(ALICE), restore.token(ALICE)
    restore.restore(NEW, restore.token(*restore.restore(NEW, mine)))
    later(24 * 60)
    assert restore.restore(NEW, other)[0] == ALICE


def test_a_token_lives_a_year(db, monkeypatch):
    token, now = restore.token(ALICE), time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + 364 * 86400)
    assert restore.restore(NEW, token)[0] == ALICE
    monkeypatch.setattr(signing.time, "time", lambda: now + 366 * 86400)
    with pytest.raises(restore.InvalidToken):
        restore.restore(NEW, token)


def test_tokens_of_versions_without_a_chain_are_good_and_rotate_from_then_on(db):
    token = signing.dumps(ALICE, salt=restore.TOKEN_SALT)
    successor = restore.token(*restore.restore(NEW, token))
    restore.restore(NEW, successor)
    later(11)
    with pytest.raises(restore.InvalidToken):
        restore.restore(NEW, token)


def test_a_restored_browser_gets_the_successor_with_its_pages(alice, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    model = make(alice.visitor)
    browser, tab, token = Client(), Client(), restore.token(alice.visitor)
    sent = {"user_id": model.public_id, "token": token}
    for client in (browser, tab):
        assert client.post("/api/load-user-model", sent).status_code == 200
    successor = re.search('data-restore-token="([^"]+)"', browser.get("/").content.decode())[1]
    later(11)
    new = Client()
    assert new.post("/api/load-user-model", {**sent, "token": successor}).status_code == 200
    used = Client().post("/api/load-user-model", sent)
    assert used.status_code == 404 and used.json()["error"]["code"] == "invalid_token"
    assert re.search('data-restore-token="([^"]+)"', browser.get("/models/").content.decode()), "its cookie still holds"
