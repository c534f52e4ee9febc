"""Whose model answers: activate, reset, lose the file, trash. Alice owns it, Charlie must not see it."""

import hashlib

import pytest
from django.db import IntegrityError, transaction

from registry import services
from registry.bases import CATALOGUE
from registry.models import FileState, UserModel
from registry.services import ModelNotFound

ALICE, CHARLIE = "a" * 32, "c" * 32


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def model(db):
    return make(ALICE)


def make(visitor: str, **values) -> UserModel:
    """A model whose file is in order and whose base is the packaged one."""
    base = services.current_base()
    assert base is not None
    row = UserModel(
        visitor=visitor, name="Cells", base_key=base.key, base_name=base.name, base_sha256=base.sha256,
        sha256="", size_bytes=7, seconds=1, image_count=5, **values,
    )  # fmt: skip
    row.path.parent.mkdir(parents=True, exist_ok=True)
    content = b"weights of " + row.public_id.encode()
    row.path.write_bytes(content)
    row.sha256 = hashlib.sha256(content).hexdigest()
    row.save()
    return row


def test_without_a_model_the_base_answers(db):
    answer = services.resolve(ALICE)
    assert not answer.is_custom and answer.key in CATALOGUE and answer.notice == ""


def test_an_activated_model_answers_its_owner_and_nobody_else(model):
    services.activate(ALICE, model.public_id)
    assert services.resolve(ALICE).key == model.key
    assert services.resolve(ALICE).name == "Custom Model"
    assert not services.resolve(CHARLIE).is_custom


def test_another_visitors_model_is_not_found(model):
    for verb in (services.owned, services.activate, services.trash, services.untrash):
        with pytest.raises(ModelNotFound):
            verb(CHARLIE, model.public_id)
    model.refresh_from_db()
    assert not model.active and model.trashed_at is None


def test_activating_a_second_model_replaces_the_first(model):
    other = make(ALICE)
    services.activate(ALICE, model.public_id)
    services.activate(ALICE, other.public_id)
    assert list(UserModel.objects.filter(active=True)) == [other]


def test_the_database_holds_one_active_model_per_visitor(model):
    services.activate(ALICE, model.public_id)
    with pytest.raises(IntegrityError), transaction.atomic():
        make(ALICE, active=True)


def test_reset_keeps_the_model_and_it_can_come_back(model):
    services.activate(ALICE, model.public_id)
    services.reset(ALICE)
    assert not services.resolve(ALICE).is_custom
    assert services.last_used_model(ALICE) == model
    services.activate(ALICE, services.last_used_model(ALICE).public_id)
    assert services.resolve(ALICE).model == model


def break_file(model: UserModel, how: str) -> None:
    content = model.path.read_bytes()
    if how == "deleted":
        model.path.unlink()
    else:
        model.path.write_bytes({"truncated": content[:-3], "flipped": content[:-1] + b"\0", "empty": b""}[how])


@pytest.mark.fault(30)
@pytest.mark.parametrize("how", ["deleted", "truncated", "flipped", "empty"])
@pytest.mark.parametrize("seen_before", [False, True], ids=["cold", "seen before"])
def test_a_lost_file_falls_back_with_a_notice(model, how, seen_before):
    services.activate(ALICE, model.public_id)
    if seen_before:
        services.resolve(ALICE)
    break_file(model, how)
    answer = services.resolve(ALICE)
    assert not answer.is_custom and "base model answers" in answer.notice
    model.refresh_from_db()
    assert model.file_state == (FileState.MISSING if how == "deleted" else FileState.DAMAGED)
    assert services.resolve(ALICE).notice == answer.notice, "the notice stays"
    services.dismiss_notice(ALICE)
    assert services.resolve(ALICE).notice == ""
    with pytest.raises(ModelNotFound):
        services.activate(ALICE, model.public_id)


@pytest.mark.fault(31)
def test_a_file_swapped_with_another_visitors_is_refused(model):
    theirs = make(CHARLIE)
    services.activate(ALICE, model.public_id)
    model.path.write_bytes(theirs.path.read_bytes())
    assert not services.resolve(ALICE).is_custom


def test_the_notice_offers_an_earlier_version(model):
    newer = make(ALICE)
    services.activate(ALICE, newer.public_id)
    newer.path.unlink()
    assert services.resolve(ALICE).earlier == model


def test_a_model_whose_base_is_gone_falls_back_as_for_a_lost_file(model):
    services.activate(ALICE, model.public_id)
    UserModel.objects.update(base_sha256="0" * 64)
    assert not services.resolve(ALICE).is_custom


def test_trash_takes_a_model_out_and_undo_brings_it_back(model):
    services.activate(ALICE, model.public_id)
    services.trash(ALICE, model.public_id)
    assert not services.resolve(ALICE).is_custom
    assert not services.versions(ALICE).exists()
    with pytest.raises(ModelNotFound):
        services.activate(ALICE, model.public_id)
    services.untrash(ALICE, model.public_id)
    assert services.activate(ALICE, model.public_id).active
    assert model.path.exists()
