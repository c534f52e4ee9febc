"""Training on from a model: its own examples and the mended results, with class ids as they are."""

import numpy as np
import pytest

from registry.models import FileState, UserModel
from registry.tests.test_services import make
from segapp.imaging import InvalidFile
from segapp.imaging.class_mapping import ClassMapping
from segapp.models import Example, State, TrainingRun
from segapp.services import continuing, example_files, intake, painting, runs
from segapp.tests.imaging.drawing import photo, saved, shapes, truth
from segapp.tests.services.test_painting import ALICE, fresh, own_media, sent
from segapp.tests.views.rows import CLASSES, analyzed, pairs, upload

__all__ = ["own_media"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def model() -> UserModel:
    """A model of Alice's, trained on two uploaded pairs of {0, 255}."""
    examples = intake.store(ALICE, *pairs("one", "two").values())
    run = runs.start(ALICE, examples, intake.review(examples))
    made = make(ALICE, active=True, classes=CLASSES, run_id=run.public_id)
    TrainingRun.objects.filter(pk=run.pk).update(state=State.DONE, model=made)
    return made


def mended(model: UserModel, mask: np.ndarray | None = None, **more) -> Example:
    example = painting.from_analysis(analyzed(ALICE, model=model, model_key=model.key))
    classes = [*CLASSES, *more.pop("classes", [])]
    painting.save(example, sent(truth() if mask is None else mask, base=1, classes=classes, unpainted=255, **more))
    return fresh(example)


def test_a_new_run_has_all_earlier_examples_the_new_one_and_the_model_as_its_start(model):
    example = mended(model)
    run = continuing.start(ALICE, model, continuing.corrections(ALICE, model))
    assert run.continued_from == model
    assert {one.stem for one in run.examples.all()} == {"one", "two", "disc"}
    assert not fresh(example).draft
    assert run.classes == CLASSES, "ids, names and colours are the model's"
    mapping = ClassMapping.from_dict(run.reading)
    for one in run.examples.select_related("painting"):
        assert (example_files.ids_of(one, mapping) == truth()).all()


def test_a_new_class_comes_behind_the_models_own(model):
    mask = truth().copy()
    mask[:10] = 2
    mended(model, mask, classes=[{"id": 2, "name": "sky", "color": "#56b4e9"}])
    run = continuing.start(ALICE, model, continuing.corrections(ALICE, model))
    assert [(row["id"], row["name"]) for row in run.classes] == [(0, "background"), (1, "=disc"), (2, "sky")]


def test_new_uploads_are_read_on_their_own_and_join_by_id(model):
    """Here 255 means ignore, in the model's own masks it meant class 1."""
    images = [upload("three.png", saved(photo(96)))]
    added = intake.store(ALICE, images, [upload("three.png", saved(shapes([0, 1, 255])))])
    run = continuing.start(ALICE, model, added)
    mapping = ClassMapping.from_dict(run.reading)
    ids = {one.stem: example_files.ids_of(one, mapping) for one in run.examples.select_related("painting")}
    assert (ids["one"] == truth()).all()
    assert (ids["three"] == np.where(truth(3) == 2, 255, truth(3))).all()


def test_corrections_of_an_ancestor_count_and_those_of_another_model_do_not(model):
    child = make(ALICE, parent=model)
    stranger = make(ALICE)
    example = mended(model)
    assert continuing.corrections(ALICE, child) == [example]
    assert continuing.corrections(ALICE, stranger) == []
    assert continuing.corrections("c" * 32, child) == []


def test_without_anything_new_it_is_refused(model):
    with pytest.raises(InvalidFile, match="Nothing was added"):
        continuing.start(ALICE, model, [])


def test_what_the_model_has_learnt_from_counts_once(model):
    example = mended(model)
    intake.draft_again(ALICE, continuing.earlier(model))
    run = continuing.start(ALICE, model, intake.drafts(ALICE))
    assert sorted(one.stem for one in run.examples.all()) == ["disc", "one", "two"]
    assert Example.objects.count() == 3 and not fresh(example).draft


def test_what_is_not_painted_yet_is_named(model):
    example = mended(model, np.full((96, 96), 255))
    with pytest.raises(InvalidFile, match="not painted yet"):
        continuing.start(ALICE, model, [example])


def test_a_model_whose_file_is_gone_cannot_be_trained_on_from(model):
    example = mended(model)
    UserModel.objects.filter(pk=model.pk).update(active=False, file_state=FileState.MISSING)
    model.refresh_from_db()
    with pytest.raises(InvalidFile, match="cannot be trained on from"):
        continuing.start(ALICE, model, [example])
    assert fresh(example).draft


def test_a_second_training_is_refused_and_the_drafts_stay(model):
    example = mended(model)
    TrainingRun.objects.create(visitor=ALICE, name="Other")
    with pytest.raises(runs.AlreadyTraining):
        continuing.start(ALICE, model, [example])
    assert fresh(example).draft


def test_ids_of_what_the_model_ignores_are_not_given_to_new_classes(model):
    run = continuing.run_of(model)
    assert run is not None
    run.reading["classes"].append({**run.reading["classes"][1], "id": 2, "ignore": True})
    run.save()
    assert continuing.taken_ids(model) == [0, 1, 2]
