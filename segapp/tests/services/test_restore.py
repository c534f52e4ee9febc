"""A browser that lost its cookie gets its visitor back by a signed token, and only by that."""

import pytest
from django.core import signing

from registry.models import UserModel
from registry.tests.test_services import make
from segapp.services import restore
from segapp.visitors import current_id

ALICE, NEW = "a" * 32, "b" * 32


def test_a_token_gives_the_old_visitor_back(db):
    assert restore.restore(NEW, restore.token(ALICE)) == ALICE
    assert current_id(NEW) == NEW, "a visitor that owns nothing leaves no trace"


@pytest.mark.parametrize(
    "token",
    ["", "nonsense", signing.dumps(ALICE, salt="another"), restore.token(ALICE)[:-2] + "xx"],
    ids=["empty", "nonsense", "another salt", "changed"],
)
def test_a_token_that_does_not_verify_gives_nothing(db, token):
    with pytest.raises(restore.InvalidToken):
        restore.restore(NEW, token)


def test_a_rotated_key_still_verifies_through_the_fallbacks(db, settings):
    token = restore.token(ALICE)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another key"
    assert restore.restore(NEW, token) == ALICE
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(restore.InvalidToken):
        restore.restore(NEW, token)


def test_what_the_new_visitor_made_joins_the_old_one(db, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    old, new = make(ALICE, active=True), make(NEW, active=True)
    assert restore.restore(NEW, restore.token(ALICE)) == ALICE
    assert set(UserModel.objects.filter(visitor=ALICE)) == {old, new}
    assert UserModel.objects.get(active=True) == old
    assert current_id(NEW) == ALICE, "cookies and tokens of the joined visitor lead on"
    assert restore.restore("c" * 32, restore.token(NEW)) == ALICE
