"""Proposals: kept apart from what is painted, accepted as a whole, scored against what was accepted, and ordered."""

import base64
import io
import secrets

import numpy as np
import pytest
from PIL import Image

from segapp.models import Painting
from segapp.services import example_files, intake, live, painting, proposals
from segapp.services.errors import NotFound
from segapp.services.painting import PaintedElsewhere, Save
from segapp.tests.imaging.drawing import photo, saved, truth
from segapp.tests.views.rows import upload

pytestmark = pytest.mark.django_db
ALICE = "a" * 32
CLASSES = [{"id": 0, "name": "background", "color": "#4b5563"}, {"id": 1, "name": "leaf", "color": "#00ff00"}]


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def begin(*stems: str):
    made = painting.begin(ALICE, [upload(f"{stem}.png", saved(photo(96))) for stem in stems])
    Painting.objects.update(classes=CLASSES)
    return [fresh(example) for example in made]


def fresh(example):
    return intake.drafts(ALICE).get(pk=example.pk)


def grey(values) -> bytes:
    return saved(Image.fromarray(np.asarray(values, np.uint8))).getvalue()


def answer(values, doubt: float = 0.2) -> dict:
    return {"mask": base64.b64encode(grey(values)).decode(), "by": "live", "doubt": doubt}


def test_a_proposal_is_kept_apart_and_teaches_nothing():
    (one,) = begin("one")
    proposals.keep(one, answer(truth()))
    one = fresh(one)
    assert one.painting.state == "proposed" and one.painting.doubt == 0.2
    assert one.to_paint, "it cannot be trained on"
    assert (example_files.painted_values(one) == 255).all()
    assert (np.asarray(Image.open(io.BytesIO(proposals.read(one)))) == truth()).all()


def test_accepting_fills_what_is_not_painted_and_keeps_what_is():
    (one,) = begin("one")
    proposals.keep(one, answer(np.zeros((96, 96))))
    strokes = np.full((96, 96), 255, np.uint8)
    strokes[10:20, 10:20] = 1
    painting.save(fresh(one), Save(0, "ab" * 8, 1, CLASSES, 255, False, io.BytesIO(grey(strokes))))
    one = fresh(one)
    assert one.painting.state == "corrected"
    row = proposals.accept(one, 1, "ab" * 8, 2, io.BytesIO(grey(np.zeros((48, 48)))))
    assert (row.state, row.revision) == ("accepted", 2)
    values = example_files.painted_values(fresh(one))
    assert (values[10:20, 10:20] == 1).all() and (values == 0).sum() == 96 * 96 - 100
    both = 2 * (96 * 96 - 100) / (96 * 96 * 2 - 100)
    assert row.dice == pytest.approx(both / 2, abs=1e-3), "the proposal had all of one class and none of the other"


def test_an_answer_that_was_right_agrees_wholly():
    (one,) = begin("one")
    proposals.keep(one, answer(truth()))
    row = proposals.accept(fresh(one), 0, "ab" * 8, 1, None)
    assert row.dice == 1.0 and proposals.history(ALICE) == [{"stem": "one", "dice": 1.0, "at": row.accepted}]
    assert not proposals.history("b" * 32)


def test_what_was_painted_before_any_proposal_has_no_score():
    (one,) = begin("one")
    row = proposals.accept(one, 0, "ab" * 8, 1, io.BytesIO(grey(truth())))
    assert row.state == "accepted" and row.dice is None


def test_accepting_from_an_older_revision_changes_nothing():
    (one,) = begin("one")
    painting.save(one, Save(0, "ab" * 8, 1, CLASSES, 255, False, io.BytesIO(grey(truth()))))
    with pytest.raises(PaintedElsewhere):
        proposals.accept(fresh(one), 0, "cd" * 8, 1, io.BytesIO(grey(np.zeros((96, 96)))))
    assert fresh(one).painting.accepted is None
    with pytest.raises(NotFound):
        proposals.accept(fresh(one), 1, "cd" * 8, 1, None)


def test_a_later_answer_does_not_replace_what_is_painted():
    (one,) = begin("one")
    painting.save(one, Save(0, "ab" * 8, 1, CLASSES, 255, False, io.BytesIO(grey(truth()))))
    proposals.keep(fresh(one), answer(truth()))
    assert fresh(one).painting.proposal == ""


def test_the_next_image_is_the_most_doubtful_one_or_the_least_alike():
    here, sure, unlike, unsure = begin("here", "sure", "unlike", "unsure")
    for example, values in ((sure, (0.1, 0.1)), (unsure, (0.4, 0.1)), (unlike, (0.2, 0.95))):
        Painting.objects.filter(example=example).update(doubt=values[0], unlike=values[1])
    found, why = proposals.next_of(ALICE, fresh(here))
    assert found.stem == "unlike" and "unlike" in why
    painting.save(fresh(unlike), Save(0, "ab" * 8, 1, CLASSES, 255, False, io.BytesIO(grey(truth()))))
    found, why = proposals.next_of(ALICE, fresh(here))
    assert found.stem == "unsure" and "borders" in why
    for example in (sure, unsure):
        painting.save(fresh(example), Save(0, "ab" * 8, 1, CLASSES, 255, False, io.BytesIO(grey(truth()))))
    assert proposals.next_of(ALICE, fresh(here)) is None


def test_pages_of_another_visitor_see_none_of_it(alice, charlie):
    (one,) = painting.begin(alice.visitor, [upload("one.png", saved(photo(96)))])
    example = intake.drafts(alice.visitor).get(pk=one.pk)
    proposals.write(example, grey(truth()), "live")
    address = f"/finetune/paint/{one.public_id}"
    for view in ("proposal", "next"):
        assert (alice.get(f"{address}/{view}").status_code, charlie.get(f"{address}/{view}").status_code) == (200, 404)
    sent = {"base": 0, "editor": "ab" * 8, "sequence": 1}
    assert charlie.post(f"{address}/accept", sent).status_code == 404
    answered = alice.post(f"{address}/accept", sent)
    assert answered.json() == {"revision": 1, "state": "accepted", "dice": 1.0}
    assert alice.get(f"{address}/next").json()["id"] is None


def test_without_a_worker_the_page_is_told_when_to_come_back(alice):
    (one,) = painting.begin(alice.visitor, [upload("one.png", saved(photo(96)))])
    sent = {"editor": secrets.token_hex(8), "sequence": 1}
    answered = alice.post(f"/finetune/paint/{one.public_id}/live", sent)
    assert answered.status_code == 503 and answered.json()["error"]["code"] == live.WorkerAway.code
    assert answered["Retry-After"] == str(live.RETRY_SECONDS)


def test_progress_compares_the_first_images_with_the_last():
    found = [{"stem": f"photo {k}", "dice": dice, "at": None} for k, dice in enumerate((0.5, 0.6, 0.7, 0.8, 0.9, 1.0))]
    plot = proposals.progress(found)
    assert plot["values"] == [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert plot["sentence"] == "Mean agreement: 55 % on the first 2 images, 95 % on the last 2 images."
    assert "80 %" in proposals.progress(found[3:4])["sentence"]
    assert proposals.progress([]) is None
