"""A visitor on another device: one code, one browser, a quarter of an hour."""

from datetime import timedelta

import pytest
from django.utils import timezone

from registry.models import UserModel
from registry.tests.test_services import make
from segapp.models import State, TrainingRun, TransferCode, VisitorAlias
from segapp.services import restore, transfer
from segapp.services.transfer import AlreadyHere, InvalidCode
from segapp.tests.planting import plant
from segapp.visitors import current_id

ALICE, PHONE, CHARLIE = "a" * 32, "b" * 32, "c" * 32
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def test_a_code_has_sixty_bits_no_ambiguous_sign_and_is_not_kept():
    row, code = transfer.make(ALICE)
    groups = code.split("-")
    assert [len(group) for group in groups] == [4, 4, 4] and len(transfer.ALPHABET) ** 12 == 2**60
    assert not set("ILOU") & set(transfer.ALPHABET)
    kept = TransferCode.objects.values().get()
    assert code not in str(kept) and code.replace("-", "") not in str(kept) and len(row.digest) == 64
    assert transfer.make(ALICE)[1] != code


@pytest.mark.parametrize("typed", [str, str.lower, lambda code: code.replace("-", " "), lambda c: f" {c.lower()}\n"])
def test_a_code_gives_the_other_browser_the_visitor(typed):
    model = make(ALICE, active=True)
    assert transfer.claim(PHONE, typed(transfer.make(ALICE)[1])) == ALICE
    model.refresh_from_db()
    assert (model.visitor, model.active) == (ALICE, True)


def test_signs_that_look_alike_are_taken_for_each_other(monkeypatch):
    monkeypatch.setattr(transfer.secrets, "choice", lambda signs: "1" if "1" in signs else signs[0])
    _, code = transfer.make(ALICE)
    assert code == "1111-1111-1111" and transfer.claim(PHONE, "IlL1-iiii-llll") == ALICE


def test_what_the_new_browser_owned_joins():
    old, new = make(ALICE, active=True), make(PHONE, active=True)
    transfer.claim(PHONE, transfer.make(ALICE)[1])
    assert set(UserModel.objects.filter(visitor=ALICE)) == {old, new}
    assert UserModel.objects.get(active=True) == old and current_id(PHONE) == ALICE


def test_a_code_is_used_once():
    _, code = transfer.make(ALICE)
    transfer.claim(PHONE, code)
    with pytest.raises(InvalidCode):
        transfer.claim(CHARLIE, code)


def test_of_two_browsers_at_once_one_gets_it(monkeypatch):
    """Both have read the row as valid; the claim itself decides."""
    row, code = transfer.make(ALICE)
    usual = transfer.current_id

    def overtaken(visitor):
        TransferCode.objects.filter(pk=row.pk).update(claimed_at=timezone.now())
        return usual(visitor)

    monkeypatch.setattr(transfer, "current_id", overtaken)
    with pytest.raises(InvalidCode):
        transfer.claim(CHARLIE, code)


def test_wrong_used_expired_and_revoked_codes_read_the_same():
    words = set()
    _, used = transfer.make(ALICE)
    transfer.claim(PHONE, used)
    late, expired = transfer.make(ALICE)
    TransferCode.objects.filter(pk=late.pk).update(expires=timezone.now() - timedelta(seconds=1))
    gone, revoked = transfer.make(ALICE)
    assert transfer.revoke(ALICE, gone.public_id)
    for code in ("0000-0000-0000", "", "?", used, expired, revoked):
        with pytest.raises(InvalidCode) as refused:
            transfer.claim(CHARLIE, code)
        words.add(str(refused.value))
    assert len(words) == 1


def test_a_code_of_ones_own_is_not_used_up():
    _, code = transfer.make(ALICE)
    with pytest.raises(AlreadyHere):
        transfer.claim(ALICE, code)
    assert transfer.claim(PHONE, code) == ALICE


def test_only_its_maker_can_revoke_a_code_and_only_while_it_is_unused():
    row, code = transfer.make(ALICE)
    assert not transfer.revoke(CHARLIE, row.public_id)
    transfer.claim(PHONE, code)
    assert not transfer.revoke(ALICE, row.public_id)


def test_codes_are_listed_while_they_are_good_and_for_a_day_when_used():
    rows = [transfer.make(ALICE) for _ in range(3)]
    transfer.claim(PHONE, rows[0][1])
    TransferCode.objects.filter(pk=rows[1][0].pk).update(expires=timezone.now() - timedelta(minutes=1))
    assert set(transfer.listed(ALICE)) == {rows[0][0], rows[2][0]} and not transfer.listed(CHARLIE)


def test_a_sixth_code_ends_the_oldest():
    rows = [transfer.make(ALICE) for _ in range(transfer.MAX_VALID + 1)]
    with pytest.raises(InvalidCode):
        transfer.claim(PHONE, rows[0][1])
    assert transfer.claim(PHONE, rows[1][1]) == ALICE


def test_a_code_made_by_a_browser_that_joined_leads_to_whom_it_joined():
    _, code = transfer.make(PHONE)
    transfer.claim(PHONE, transfer.make(ALICE)[1])
    assert transfer.claim(CHARLIE, code) == ALICE


def test_signing_the_others_out_takes_everything_along_and_leaves_old_keys_empty():
    token, model = restore.token(ALICE), make(ALICE, active=True)
    make(PHONE)
    transfer.claim(PHONE, transfer.make(ALICE)[1])
    _, code = transfer.make(ALICE)
    fresh = transfer.sign_out_others(ALICE)
    assert fresh != ALICE and UserModel.objects.filter(visitor=fresh).count() == 2
    model.refresh_from_db()
    assert model.active
    assert current_id(PHONE) == PHONE and not UserModel.objects.filter(visitor__in=[ALICE, PHONE]).exists()
    with pytest.raises(InvalidCode):
        transfer.claim(CHARLIE, code)
    assert restore.restore("d" * 32, token)[0] == ALICE, "the key still names the old id, which owns nothing"


def test_a_training_that_goes_on_under_a_joined_id_publishes_to_whom_it_joined():
    TrainingRun.objects.create(visitor=ALICE)
    lent = TrainingRun.objects.create(visitor=PHONE, state=State.RUNNING, lease="token")
    restore.join(PHONE, ALICE)
    lent.refresh_from_db()
    assert plant(PHONE, "Late", 1, run=lent).visitor == ALICE
    assert UserModel.objects.get(active=True).visitor == ALICE


def test_signing_out_ends_a_training_that_goes_on_under_a_joined_id():
    TrainingRun.objects.create(visitor=ALICE)
    lent = TrainingRun.objects.create(visitor=PHONE)
    restore.join(PHONE, ALICE)
    assert VisitorAlias.objects.get(old=PHONE).new == ALICE
    fresh = transfer.sign_out_others(ALICE)
    lent.refresh_from_db()
    assert (lent.visitor, lent.state) == (PHONE, State.CANCELLED)
    assert TrainingRun.objects.get(visitor=fresh).state == State.QUEUED
