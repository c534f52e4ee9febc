"""Pixels that the web process leaves are what the worker sees, and are gone when it has answered."""

import numpy as np
import pytest
from django.conf import settings

from registry.runtime import Runtime
from segapp.imaging import decode
from segapp.models import Analysis, State
from segapp.services import analyses, handover
from segapp.tests.imaging.drawing import photo, saved
from segapp.worker import inference, networks

ALICE = "a" * 32
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    made = Runtime(tmp_path, settings.SEGAPP_WEIGHTS, "cpu", 1 << 30)
    monkeypatch.setattr(networks, "runtime", lambda: made)
    return made


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_what_is_left_is_what_decoding_the_stored_image_gives(format):
    row = analyses.submit(ALICE, saved(photo(64), format), "one")
    left = handover.pixels(row)
    assert left is not None and (left == decode.stored(row.image_path)).all()


def test_the_worker_takes_it_and_nothing_is_left_when_it_has_answered(runtime, monkeypatch):
    seen = []
    predict = inference.predict

    def watched(net, image, *rest, **more):
        seen.append(image)
        return predict(net, image, *rest, **more)

    monkeypatch.setattr(inference, "predict", watched)
    row = analyses.submit(ALICE, saved(photo(64)), "one.png")
    left = handover.pixels(row)
    row.image_path.unlink()  # so it cannot have been decoded
    inference.run(row.pk)
    row.refresh_from_db()
    assert row.state == State.DONE, row.message
    assert (seen[0] == left).all() and not row.pixels_path.exists()


def truncated(path):
    path.write_bytes(path.read_bytes()[:200])


def of_another_size(path):
    np.save(path, np.zeros((8, 8, 3), np.uint8))


def pickled(path):
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), truncated, of_another_size, pickled])
def test_without_it_the_stored_image_is_decoded(runtime, spoil):
    row = analyses.submit(ALICE, saved(photo(64)), "one.png")
    spoil(row.pixels_path)
    assert handover.pixels(row) is None
    inference.run(row.pk)
    row.refresh_from_db()
    assert row.state == State.DONE, row.message
    assert not row.pixels_path.exists()


def test_nothing_is_left_of_large_images_or_while_many_wait(monkeypatch):
    monkeypatch.setattr(handover, "MAX_PIXELS", 64 * 64 - 1)
    assert not analyses.submit(ALICE, saved(photo(64)), "large.png").pixels_path.exists()
    assert analyses.submit(ALICE, saved(photo(32)), "small.png").pixels_path.exists()
    monkeypatch.setattr(handover, "MAX_LEFT", Analysis.objects.count())
    assert not analyses.submit(ALICE, saved(photo(32)), "one_more.png").pixels_path.exists()


def test_a_full_disk_for_it_does_not_stop_the_upload(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(handover, "write_atomically", full)
    row = analyses.submit(ALICE, saved(photo(64)), "one.png")
    assert row.state == State.QUEUED and row.image_path.exists() and not row.pixels_path.exists()


def test_it_goes_with_an_image_that_no_worker_came_to():
    row = analyses.submit(ALICE, saved(photo(64)), "one.png")
    analyses._give_up(Analysis.objects.filter(pk=row.pk), "No worker answered.")
    assert not row.pixels_path.exists() and row.image_path.exists()


def test_a_grey_image_is_left_as_the_worker_sees_it():
    row = analyses.submit(ALICE, saved(photo(64).convert("L")), "grey.png")
    left = handover.pixels(row)
    assert left is not None and (left == decode.stored(row.image_path)).all()
