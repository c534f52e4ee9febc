"""Uploads that are under way while their visitor is joined, signed out elsewhere or deleted."""

import pytest
from django.test import Client

from registry.tests.test_services import make
from segapp.models import ApiKey, Example, LedgerEntry, TrainingRun, VisitorMove
from segapp.services import api_keys, cleanup, intake, mydata, restore, transfer
from segapp.tests.services.test_painting import own_media
from segapp.tests.views.rows import pairs

__all__ = ["own_media"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def meanwhile(monkeypatch):
    """Let something happen while an upload is being read: after it came in, before anything of it is stored."""
    plain = intake.store

    def happens(act):
        def store(visitor, *arguments, **options):
            act(visitor)
            monkeypatch.setattr(intake, "store", plain)
            return plain(visitor, *arguments, **options)

        monkeypatch.setattr(intake, "store", store)

    return happens


def owners() -> set[str]:
    found = {row.visitor for kind in (Example, TrainingRun, LedgerEntry) for row in kind.objects.all()}
    assert TrainingRun.objects.exists() == Example.objects.exists()
    return found


def test_an_upload_under_way_at_a_restore_joins_the_restored(alice, charlie, meanwhile):
    meanwhile(lambda visitor: restore.join(visitor, alice.visitor))
    sent = charlie.post("/api/finetune", pairs("one", "two"))
    assert sent.status_code == 202 and owners() == {alice.visitor}
    assert alice.get(sent.json()["status_url"]).status_code == 200


def test_a_training_sent_at_a_restore_goes_on_beside_one_that_runs(alice, charlie, meanwhile):
    assert alice.post("/api/finetune", pairs("three", "four")).status_code == 202
    meanwhile(lambda visitor: restore.join(visitor, alice.visitor))
    assert charlie.post("/api/finetune", pairs("one", "two")).status_code == 202
    assert {row.visitor for row in Example.objects.all()} == {alice.visitor}
    assert TrainingRun.objects.filter(state="queued").count() == 2


def test_an_upload_under_way_at_a_sign_out_goes_with_everything_else(alice, meanwhile):
    fresh = []
    meanwhile(lambda visitor: fresh.append(transfer.sign_out_others(visitor)))
    assert alice.post("/api/finetune", pairs("one", "two")).status_code == 202
    assert owners() == set(fresh)


def test_what_a_signed_out_browser_sends_later_stays_its_own(alice):
    fresh = transfer.sign_out_others(alice.visitor)
    assert alice.post("/api/finetune", pairs("one", "two")).status_code == 202
    assert owners() == {alice.visitor} and fresh != alice.visitor


def test_a_key_made_while_the_browser_is_signed_out_opens_nothing(alice, monkeypatch):
    make(alice.visitor)
    plain = api_keys.make

    def made(visitor, *arguments, **options):
        transfer.sign_out_others(visitor)
        return plain(visitor, *arguments, **options)

    monkeypatch.setattr(api_keys, "make", made)
    key = alice.post("/api/keys", {"name": "way back"}).json()["key"]
    assert ApiKey.objects.exists()
    shown = Client().get("/api/models", headers={"Authorization": f"Bearer {key}"})
    assert shown.json()["models"] == []


def test_an_upload_under_way_at_a_deletion_is_deleted_too(alice, meanwhile):
    meanwhile(mydata.erase)
    alice.post("/api/finetune", pairs("one", "two"))
    assert owners() == set() and not any(Example(public_id="x").folder.parent.iterdir())


def test_cleanup_forgets_moves_after_a_day(alice):
    transfer.sign_out_others(alice.visitor)
    assert not [one for one in cleanup.plan() if "move" in one.message]
    VisitorMove.objects.update(created="2020-01-01T00:00Z")
    assert len([one for one in cleanup.plan() if "move" in one.message]) == 1
