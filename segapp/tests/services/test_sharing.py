"""Share links: one model for guests, nothing else. Alice owns it, Charlie is a guest."""

import pytest
from django.conf import settings

from registry import services as registry
from registry.models import UserModel
from registry.runtime import Runtime
from registry.tests.test_services import make
from segapp.models import Analysis, ModelShare
from segapp.services import analyses, restore, sharing
from segapp.services.sharing import ShareNotFound
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.planting import plant
from segapp.worker import inference, networks

ALICE, CHARLIE = "a" * 32, "c" * 32
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def test_a_guests_result_is_pinned_to_the_model_and_belongs_to_the_guest():
    model, own = make(ALICE), make(CHARLIE, active=True)
    share = sharing.create(model, "for Charlie")
    analysis = sharing.submit(CHARLIE, share.token, saved(photo(64)), "one.png")
    assert (analysis.visitor, analysis.model, analysis.shared) == (CHARLIE, model, True)
    assert (analysis.base_key, analysis.base_sha256) == (model.base_key, model.base_sha256)
    assert registry.resolve(CHARLIE).model == own, "the guest's own active model is as it was"
    share.refresh_from_db()
    assert share.uses == 1 and share.last_used is not None
    assert list(sharing.results(CHARLIE, share)) == [analysis] and not sharing.results(ALICE, share)
    assert registry.resolve(ALICE).model is None and not registry.versions(CHARLIE).filter(pk=model.pk)


def test_a_token_is_random_and_names_nothing():
    model = make(ALICE)
    one, two = sharing.create(model), sharing.create(model)
    assert len({one.token, two.token, model.public_id}) == 3
    assert int(one.token, 16).bit_length() <= 128 and len(one.token) == 32


def test_a_guests_result_does_not_tell_the_models_id():
    model = make(ALICE)
    stamped = {"model": model, "model_key": model.key, "model_sha256": model.sha256, "width": 1, "height": 1}
    row = Analysis.objects.create(visitor=CHARLIE, title="x", shared=True, **stamped)
    assert model.public_id not in str(analyses.status(row))
    assert analyses.status(row)["model_sha256"] == model.sha256
    own = Analysis.objects.create(visitor=ALICE, title="x", **stamped)
    assert analyses.status(own)["model_key"] == model.key


@pytest.mark.parametrize("how", ["revoked", "trashed", "deleted", "file lost", "file damaged", "never there"])
def test_a_link_that_is_over_is_not_found(how):
    model = make(ALICE, active=True)
    share = sharing.create(model)
    token = share.token
    if how == "revoked":
        sharing.revoke(ALICE, token)
    elif how == "trashed":
        registry.trash(ALICE, model.public_id)
    elif how == "deleted":
        registry.delete_with_file(model)
    elif how == "file lost":
        model.path.unlink()
    elif how == "file damaged":
        model.path.write_bytes(b"something else")
    else:
        token = "0" * 32
    with pytest.raises(ShareNotFound):
        sharing.submit(CHARLIE, token, saved(photo(64)), "one.png")
    assert not Analysis.objects.exists()


def test_a_model_brought_back_from_the_trash_is_shared_again():
    model = make(ALICE)
    share = sharing.create(model)
    registry.trash(ALICE, model.public_id)
    registry.untrash(ALICE, model.public_id)
    assert sharing.resolve(share.token)[1].model == model


def test_only_the_owner_sees_and_revokes_links():
    share = sharing.create(make(ALICE))
    assert list(sharing.of(ALICE)) == [share] and not sharing.of(CHARLIE)
    with pytest.raises(ShareNotFound):
        sharing.revoke(CHARLIE, share.token)
    assert ModelShare.objects.get() == share


def test_links_are_bounded(monkeypatch):
    monkeypatch.setattr(sharing, "MAX_PER_MODEL", 2)
    model = make(ALICE)
    sharing.create(model)
    sharing.create(model)
    with pytest.raises(sharing.TooManyLinks):
        sharing.create(model)


def test_a_link_goes_with_the_model_when_visitors_join():
    share = sharing.create(make(ALICE))
    make(CHARLIE)
    restore.join(ALICE, CHARLIE)
    assert list(sharing.of(CHARLIE)) == [share]
    assert UserModel.objects.filter(visitor=CHARLIE).count() == 2


def test_a_worker_answers_a_guest_with_the_shared_model_and_leaves_its_owners_last_use_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(networks, "runtime", lambda: runtime)
    runtime = Runtime(tmp_path, settings.SEGAPP_WEIGHTS, "cpu", 1 << 30)
    model = plant(ALICE, "Rims", 2)
    UserModel.objects.update(last_used=None)
    row = sharing.submit(CHARLIE, sharing.create(model).token, saved(photo(64)), "one.png")
    inference.run(row.pk)
    row.refresh_from_db()
    assert (row.model_key, row.model_sha256, row.model_name) == (model.key, model.sha256, "Rims")
    assert [found["percent"] for found in row.classes] == [0, 0, 100] and row.message == ""
    assert UserModel.objects.get().last_used is None


@pytest.mark.parametrize("how", ["file lost", "row deleted"])
def test_a_shared_model_that_is_lost_on_the_way_is_not_claimed_to_have_answered(monkeypatch, tmp_path, how):
    monkeypatch.setattr(networks, "runtime", lambda: runtime)
    runtime = Runtime(tmp_path, settings.SEGAPP_WEIGHTS, "cpu", 1 << 30)
    model = make(ALICE)
    row = sharing.submit(CHARLIE, sharing.create(model).token, saved(photo(64)), "one.png")
    model.path.unlink()
    if how == "row deleted":
        model.delete()
    inference.run(row.pk)
    row.refresh_from_db()
    assert row.model_key == registry.current_base().key and "shared model could not be used" in row.message
    assert "Your model" not in row.message
