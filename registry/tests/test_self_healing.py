"""What the environment does loses no model; a file that is found again makes its model active again."""

import errno

import pytest

from registry import bases, files, services
from registry.files import StoreUnreachable
from registry.models import FileState
from registry.tests.test_services import make

pytestmark = pytest.mark.django_db
ALICE = "a" * 32


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def test_a_file_that_is_found_again_makes_its_model_active_again():
    model = make(ALICE, active=True)
    aside = model.path.rename(model.path.with_suffix(".aside"))
    answer = services.resolve(ALICE)
    assert answer.model is None and answer.notice
    aside.rename(model.path)
    assert services.resolve(ALICE).model == model
    model.refresh_from_db()
    assert model.active and model.file_state == FileState.OK and not model.notice


def test_a_choice_that_was_made_meanwhile_stands():
    model, other = make(ALICE, active=True), make(ALICE)
    aside = model.path.rename(model.path.with_suffix(".aside"))
    services.resolve(ALICE)
    services.activate(ALICE, other.public_id)
    aside.rename(model.path)
    assert services.resolve(ALICE).model == other
    services.reset(ALICE)
    assert services.resolve(ALICE).model is None


@pytest.mark.fault(52)
def test_media_that_is_unmounted_marks_nothing(settings):
    model = make(ALICE, active=True)
    aside = settings.MEDIA_ROOT.rename(settings.MEDIA_ROOT.with_name("away"))
    settings.MEDIA_ROOT.mkdir()
    with pytest.raises(StoreUnreachable):
        services.resolve(ALICE)
    model.refresh_from_db()
    assert model.active and model.file_state == FileState.OK
    settings.MEDIA_ROOT.rmdir()
    aside.rename(settings.MEDIA_ROOT)
    assert services.resolve(ALICE).model == model


@pytest.mark.fault(52)
@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOTCONN])
def test_a_share_that_does_not_answer_marks_nothing(number, monkeypatch):
    model = make(ALICE, active=True)

    def stale(path):
        raise OSError(number, "away")

    monkeypatch.setattr(files, "digest", stale)
    with pytest.raises(StoreUnreachable):
        services.resolve(ALICE)
    model.refresh_from_db()
    assert model.active and model.file_state == FileState.OK


@pytest.mark.fault(52)
def test_weights_out_of_reach_mark_nothing(monkeypatch):
    model = make(ALICE, active=True)
    with monkeypatch.context() as away:
        away.setattr(bases, "weights_source", lambda *_: None)
        away.setattr(bases, "find_version", lambda *_: None)
        with pytest.raises(StoreUnreachable):
            services.resolve(ALICE)
    assert services.resolve(ALICE).model == model
