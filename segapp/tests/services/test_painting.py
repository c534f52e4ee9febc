"""Painted drafts: saves with a revision, one list of classes, copies of what a training has used."""

import io
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone
from PIL import Image

from registry.tests.test_services import make
from segapp.imaging import InvalidFile
from segapp.models import Example, Painting, TrainingRun
from segapp.services import cleanup, example_files, intake, paint_classes, painting, proposals
from segapp.services.errors import InvalidUpload, NotFound
from segapp.services.painting import PaintedElsewhere, PaintingClosed, Save
from segapp.tests.imaging.drawing import photo, saved, truth
from segapp.tests.views.rows import analyzed, pairs, upload

ALICE, CHARLIE = "a" * 32, "c" * 32
CLASSES = [{"id": 0, "name": "background", "color": "#4b5563"}, {"id": 1, "name": "leaf", "color": "#00ff00"}]
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def photos(*stems: str) -> list[Example]:
    return painting.begin(ALICE, [upload(f"{stem}.jpg", saved(photo(96), "JPEG")) for stem in stems])


def png(values: np.ndarray) -> io.BytesIO:
    return saved(Image.fromarray(values.astype(np.uint8)))


def sent(mask: np.ndarray | None = None, **values) -> Save:
    plain = Save(0, "e" * 16, 1, CLASSES, 0, False, None if mask is None else png(mask))
    return replace(plain, **values)


def fresh(example: Example) -> Example:
    return Example.objects.get(pk=example.pk)


def test_a_photo_is_a_draft_that_cannot_be_trained_on_until_it_is_painted():
    (one,) = photos("one")
    assert one.draft and one.to_paint and intake.ready([one]) == []
    painting.save(one, sent(truth()))
    assert not fresh(one).to_paint
    mapping = intake.review([fresh(one)])
    assert [row["name"] for row in mapping.trained] == ["background", "leaf"]
    assert (example_files.ids_of(fresh(one), mapping) == truth()).all()
    assert fresh(one).size_bytes == example_files.size_of(one)


def test_the_values_come_back_as_they_were_painted():
    (one,) = photos("one")
    values = np.random.default_rng(0).choice([0, 1, 255], (96, 96)).astype(np.uint8)
    painting.save(one, sent(values))
    assert (example_files.painted_values(fresh(one)) == values).all()
    mapping = intake.review([fresh(one)])
    assert (example_files.ids_of(fresh(one), mapping) == np.where(values == 255, 0, values)).all(), "background"
    painting.save(fresh(one), sent(None, unpainted=255, sequence=2))
    assert (example_files.painted_values(fresh(one)) == values).all(), "the choice changes no pixel"
    assert (example_files.ids_of(fresh(one), intake.review([fresh(one)])) == values).all()


def test_old_revisions_leave_no_files_behind_and_the_one_before_stays():
    (one,) = photos("one")
    for sequence in range(1, 5):
        painting.save(fresh(one), sent(truth(), sequence=sequence))
    kept = {path.name for path in one.folder.glob("painted_*")}
    assert kept == {"painted_3.png", "painted_3.json", "painted_4.png", "painted_4.json"}


def test_a_save_that_fails_half_way_is_not_what_is_read(monkeypatch):
    (one,) = photos("one")
    painting.save(one, sent(truth()))
    whole = example_files.write_atomically

    def full(path, *rest):
        if path.suffix == ".json":
            raise OSError(28, "No space left on device")
        return whole(path, *rest)

    monkeypatch.setattr(example_files, "write_atomically", full)
    with pytest.raises(OSError, match="No space"):
        painting.save(fresh(one), sent(np.zeros((96, 96)), sequence=2))
    assert (example_files.painted_values(fresh(one)) == truth()).all()
    assert (example_files.ids_of(fresh(one), intake.review([fresh(one)])) == truth()).all()


def test_saying_that_there_is_nothing_makes_it_all_background():
    (one,) = photos("one")
    painting.nothing_there(one)
    assert not fresh(one).to_paint
    assert (example_files.ids_of(fresh(one), intake.review([fresh(one)])) == 0).all()
    assert fresh(one).painting.revision == 0
    (two,) = photos("two")
    painting.save(two, sent(None, nothing_there=True))
    assert not fresh(two).to_paint
    assert (example_files.ids_of(fresh(two), intake.review([fresh(two)])) == 0).all()


def test_erasing_everything_makes_it_unpainted_again():
    (one,) = photos("one")
    painting.save(one, sent(truth()))
    painting.save(fresh(one), sent(np.full((96, 96), 255), sequence=2))
    assert fresh(one).to_paint


def test_of_two_tabs_the_second_is_told_and_overwrites_nothing():
    (one,) = photos("one")
    painting.save(one, sent(truth()))
    with pytest.raises(PaintedElsewhere) as other:
        painting.save(fresh(one), sent(np.zeros((96, 96)), editor="f" * 16))
    assert other.value.revision == 1
    assert (example_files.painted_values(fresh(one)) == truth()).all()
    painting.save(fresh(one), sent(np.zeros((96, 96)), editor="f" * 16, base=1))
    assert fresh(one).painting.revision == 2 and (example_files.painted_values(fresh(one)) == 0).all()
    with pytest.raises(PaintedElsewhere):
        painting.save(fresh(one), sent(truth(), sequence=2, base=1))


def test_a_save_sent_again_goes_through_and_a_late_one_changes_nothing():
    (one,) = photos("one")
    painting.save(one, sent(truth()))
    again = painting.save(fresh(one), sent(truth(), sequence=2))  # the answer was lost: its base is still 0
    assert again.revision == 2
    late = painting.save(fresh(one), sent(np.zeros((96, 96)), sequence=1))
    assert late.revision == 2 and (example_files.painted_values(fresh(one)) == truth()).all()


@pytest.mark.parametrize(
    ("mask", "words"),
    [(np.full((96, 96), 7), "value 7"), (np.zeros((95, 96)), "its image 96 × 96")],
    ids=["a value that is no class", "another size"],
)
def test_a_mask_that_does_not_fit_is_refused_and_changes_nothing(mask, words):
    (one,) = photos("one")
    painting.save(one, sent(truth()))
    with pytest.raises(InvalidFile, match=words):
        painting.save(fresh(one), sent(mask, sequence=2))
    assert fresh(one).painting.revision == 1 and (example_files.painted_values(fresh(one)) == truth()).all()


def test_a_full_disk_leaves_the_revision_as_it_was(monkeypatch):
    (one,) = photos("one")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(example_files, "write_painted", full)
    with pytest.raises(OSError, match="No space"):
        painting.save(one, sent(truth()))
    assert fresh(one).painting.revision == 0 and fresh(one).to_paint


def test_a_name_changed_on_one_image_changes_on_all_drafts():
    one, two = photos("one", "two")
    painting.save(one, sent(truth()))
    renamed = [CLASSES[0], {**CLASSES[1], "name": "petal"}, {"id": 2, "name": "stem", "color": "#0000ff"}]
    painting.save(two, sent(truth(), classes=renamed))
    assert [row["name"] for row in fresh(one).painting.classes] == ["background", "petal", "stem"]
    assert [row["name"] for row in intake.review([fresh(one), fresh(two)]).trained] == ["background", "petal"]


def test_painted_and_uploaded_pairs_are_one_set():
    intake.store(ALICE, *pairs("up").values())
    (one,) = photos("one")
    assert [row["id"] for row in one.painting.classes] == [0, 1], "the classes of the uploaded masks are there to paint"
    painting.save(one, sent(truth()))
    mapping = intake.review(intake.drafts(ALICE))
    assert [(row["id"], row["name"], row["images"]) for row in mapping.classes] == [
        (0, "background", 2),
        (1, "leaf", 2),
    ]
    for example in intake.drafts(ALICE):
        assert (example_files.ids_of(example, mapping) == truth()).all()


def test_an_uploaded_mask_is_painted_on_in_class_ids():
    (one,) = intake.store(ALICE, *pairs("one").values())
    edited = painting.to_edit(ALICE, one.public_id, {"255": {"name": "disc", "color": "#ff00ff"}})
    assert edited.pk == one.pk and fresh(one).mask_kind == "painted"
    assert (example_files.painted_values(fresh(one)) == truth()).all()
    assert fresh(one).painting.classes[1] == {"id": 1, "name": "disc", "color": "#ff00ff", "source": "255"}
    assert [row["name"] for row in intake.review([fresh(one)]).trained] == ["background", "disc"]


def test_what_a_training_has_used_is_painted_on_as_a_copy():
    (one,) = photos("one")
    painting.save(one, sent(truth()))
    run = TrainingRun.objects.create(visitor=ALICE, name="Run", state="done")
    run.examples.add(one)
    with pytest.raises(NotFound):
        painting.owned(ALICE, one.public_id)
    with pytest.raises(PaintingClosed):
        painting.save(fresh(one), sent(np.zeros((96, 96)), sequence=2))
    copy = painting.to_edit(ALICE, one.public_id, {})
    assert copy.pk != one.pk and not fresh(one).draft
    painting.save(copy, sent(np.zeros((96, 96)), base=1, editor="f" * 16))
    assert (example_files.painted_values(fresh(one)) == truth()).all(), "the run's mask is what it was"
    assert (example_files.painted_values(fresh(copy)) == 0).all()
    assert copy.image_path.read_bytes() == one.image_path.read_bytes()


def test_nobody_paints_on_anothers_image():
    (one,) = photos("one")
    for call in (lambda: painting.owned(CHARLIE, one.public_id), lambda: painting.to_edit(CHARLIE, one.public_id, {})):
        with pytest.raises(NotFound):
            call()


def test_a_result_becomes_a_draft_with_the_prediction_as_its_proposal_and_nothing_painted():
    model = make(ALICE, active=True)
    result = analyzed(ALICE, model=model, model_key=model.key)
    example = painting.from_analysis(result)
    assert (np.asarray(Image.open(io.BytesIO(proposals.read(example)))) == truth()).all()
    assert fresh(example).to_paint and fresh(example).painting.state == "proposed", "nobody has confirmed it"
    assert (example_files.painted_values(example) == 255).all()
    assert example.painting.corrects == model and example.stem == "disc"
    assert [row["name"] for row in example.painting.classes] == ["background", "=disc"]
    assert painting.from_analysis(result).pk == example.pk, "asked twice, it is the same draft"
    assert painting.from_analysis(analyzed(ALICE)).stem == "disc 2", "and another result of that name is another one"


def test_a_result_whose_files_are_gone_is_refused_and_leaves_nothing():
    result = analyzed(ALICE)
    (result.folder / "mask.png").unlink()
    with pytest.raises(InvalidFile, match="gone"):
        painting.from_analysis(result)
    assert not Example.objects.exists()


def test_what_is_still_painted_on_outlives_the_days_of_an_upload():
    old = timezone.now() - timedelta(days=30)
    _, two = photos("one", "two")
    Example.objects.update(created=old)
    Painting.objects.filter(example=two).update(updated=old)
    assert [removal.message for removal in cleanup.plan()] == [f"upload never used: examples/{two.public_id}"]


def test_a_faulty_photo_is_named_and_nothing_is_stored():
    with pytest.raises(InvalidUpload) as refusal:
        painting.begin(ALICE, [upload("good.png", saved(photo(32))), upload("bad.png", io.BytesIO(b"<html>"))])
    assert [problem["file"] for problem in refusal.value.problems] == ["bad.png"]
    assert not Example.objects.exists() and not Painting.objects.exists()


def test_a_class_that_is_painted_nowhere_can_be_removed_everywhere():
    one, two = photos("one", "two")
    added = [*CLASSES, {"id": 2, "name": "stem", "color": "#0000ff"}]
    painting.save(one, sent(np.where(truth() == 1, 1, 255), classes=added))
    assert [row["id"] for row in fresh(two).painting.classes] == [0, 1, 2]
    paint_classes.remove(ALICE, 2)
    assert [row["id"] for row in fresh(one).painting.classes] == [0, 1]
    assert [row["id"] for row in fresh(two).painting.classes] == [0, 1]
    with pytest.raises(InvalidFile, match="is painted on “one”"):
        paint_classes.remove(ALICE, 1)
    with pytest.raises(InvalidFile, match="count as “background”"):
        paint_classes.remove(ALICE, 0)


def test_a_class_that_stands_for_more_than_paint_cannot_be_removed():
    photos("one")
    intake.store(ALICE, *pairs("two", "three").values())
    with pytest.raises(InvalidFile, match="of uploaded masks"):
        paint_classes.remove(ALICE, 1)
    (there,) = Painting.objects.all()
    known = [{"id": 7, "name": "bud", "color": "#ff0000"}]
    Painting.objects.filter(pk=there.pk).update(classes=[*there.classes, *known])
    with pytest.raises(InvalidFile, match="the model that you train on from"):
        paint_classes.remove(ALICE, 7, known)


def test_the_last_class_stays():
    (one,) = photos("one")
    Painting.objects.filter(example=one).update(classes=[CLASSES[1]], unpainted=255)
    with pytest.raises(InvalidFile, match="the only class"):
        paint_classes.remove(ALICE, 1)
    assert fresh(one).painting.classes == [CLASSES[1]]
