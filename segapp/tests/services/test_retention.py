"""Training images live as long as a model, a training set, the drafts or a run needs them, and no longer."""

from datetime import timedelta

import pytest
from django.utils import timezone

from registry import services as registry
from registry.models import UserModel
from registry.tests.test_services import make
from segapp.imaging import InvalidFile
from segapp.models import Example, State, TrainingRun, TrainingSet
from segapp.services import cleanup, continuing, intake, retention, runs, training_sets
from segapp.tests.services.test_painting import ALICE, own_media
from segapp.tests.views.rows import pairs

__all__ = ["own_media"]
pytestmark = pytest.mark.django_db
DAYS = 8  # one more than ended runs and drafts are kept


@pytest.fixture
def run() -> TrainingRun:
    """A queued training on two pairs."""
    examples = intake.store(ALICE, *pairs("one", "two").values())
    return runs.start(ALICE, examples, intake.review(examples))


def age(days: int = DAYS) -> None:
    """Let everything be older by so many days."""
    past = timedelta(days=days)
    for kind, names in ((Example, ["created", "drafted"]), (TrainingRun, ["created", "ended"])):
        for row in kind.objects.all():
            values = {name: getattr(row, name) - past for name in names if getattr(row, name) is not None}
            kind.objects.filter(pk=row.pk).update(**values)


def end(run: TrainingRun, state: State, model: UserModel | None = None) -> None:
    TrainingRun.objects.filter(pk=run.pk).update(state=state, model=model, ended=timezone.now())


def clean() -> None:
    for removal in cleanup.plan():
        removal.act()


def kept() -> set[str]:
    """Stems of the images that are there as rows and as files, which must agree."""
    rows = list(Example.objects.all())
    assert {row.public_id for row in rows} == {path.name for path in intake_folder().iterdir()}
    return {row.stem for row in rows}


def intake_folder():
    return Example(public_id="x").folder.parent


@pytest.mark.parametrize("state", [State.CANCELLED, State.FAILED])
def test_images_of_a_run_without_a_model_can_be_taken_up_for_a_week_and_then_go(run, state):
    folder = run.folder
    folder.mkdir(parents=True)
    end(run, state)
    age(6)
    clean()
    assert kept() == {"one", "two"} and TrainingRun.objects.exists()
    age(2)
    clean()
    assert kept() == set() and not TrainingRun.objects.exists() and not folder.exists()


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
def test_images_of_a_run_in_progress_stay_however_old(run, state):
    TrainingRun.objects.filter(pk=run.pk).update(state=state)
    age(400)
    clean()
    assert kept() == {"one", "two"} and TrainingRun.objects.exists()


def test_images_stay_as_long_as_the_model_that_learnt_from_them_the_trash_included(run):
    model = make(ALICE, run_id=run.public_id)
    end(run, State.DONE, model)
    age(400)
    clean()
    registry.trash(ALICE, model.public_id)
    clean()
    registry.untrash(ALICE, model.public_id)
    assert len(continuing.earlier(model)) == 2, "it can still be trained on"
    registry.delete_with_file(model)
    clean()
    assert kept() == set() and not TrainingRun.objects.exists()


def test_a_model_that_was_trained_on_from_a_deleted_one_keeps_the_images_of_both(run):
    first = make(ALICE, run_id=run.public_id)
    end(run, State.DONE, first)
    added = intake.store(ALICE, *pairs("three").values())
    again = continuing.start(ALICE, first, added)
    second = make(ALICE, run_id=again.public_id, parent=first)
    end(again, State.DONE, second)
    registry.delete_with_file(first)
    age()
    clean()
    assert kept() == {"one", "two", "three"} and list(TrainingRun.objects.all()) == [again]


def test_images_of_a_named_set_stay_whether_it_is_open_or_not(run):
    intake.draft_again(ALICE, run.examples.all())
    named = training_sets.save(ALICE, "Leaves", {})
    end(run, State.CANCELLED)
    age(400)
    clean()
    training_sets.open_set(ALICE, None, {})
    clean()
    assert kept() == {"one", "two"} and named.examples.count() == 2
    training_sets.delete(TrainingSet.objects.get())
    clean()
    assert kept() == set()


def test_images_taken_up_again_are_drafts_that_start_their_week_anew(run):
    end(run, State.CANCELLED)
    age()
    intake.draft_again(ALICE, run.examples.all())
    clean()
    assert kept() == {"one", "two"}, "somebody is working on them"
    age()
    clean()
    assert kept() == set()


def test_what_is_needed_again_since_it_was_looked_at_stays(run):
    """The cleanup lists first and removes later; somebody may have come in between."""
    end(run, State.CANCELLED)
    age()
    planned = list(cleanup.plan())
    assert len(planned) == 3
    intake.draft_again(ALICE, run.examples.all())
    examples = list(run.examples.all())
    runs.start(ALICE, examples, intake.review(examples))
    for removal in planned:
        removal.act()
    assert kept() == {"one", "two"}


def test_a_training_whose_images_went_meanwhile_is_refused_and_none_is_left(run):
    end(run, State.CANCELLED)
    examples = list(run.examples.all())
    mapping = intake.review(examples)
    age()
    clean()
    with pytest.raises(InvalidFile, match="deleted"):
        runs.start(ALICE, examples, mapping)
    assert not TrainingRun.objects.exists()


def test_an_image_that_just_came_in_has_no_run_yet_and_stays():
    intake.store(ALICE, *pairs("one").values(), draft=False)
    assert not retention.examples().exists()
