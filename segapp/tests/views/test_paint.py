"""The paint page and what leads to it: owners, saves and their answers, training on, with and without htmx."""

import io
import json

import numpy as np
import pytest
from django.utils import timezone
from PIL import Image

from registry.models import UserModel
from registry.tests.test_services import make
from segapp.imaging.class_mapping import ClassMapping
from segapp.models import Example, Painting, State, TrainingRun
from segapp.services import example_files, paint_classes
from segapp.tests.imaging.drawing import photo, saved, truth
from segapp.tests.views.rows import CLASSES, HTMX, analyzed, pairs, upload
from segapp.tests.views.test_finetune import text

NAMED = [{"id": 0, "name": "background", "color": "#4b5563"}, {"id": 1, "name": "leaf", "color": "#00ff00"}]


def begin(client, *stems: str) -> list[Example]:
    client.post("/finetune/paint/", {"images": [upload(f"{stem}.png", saved(photo(96))) for stem in stems]})
    return list(Example.objects.filter(visitor=client.visitor).select_related("painting"))


def fields(mask: np.ndarray | None = None, **values):
    sent = {"base": 0, "editor": "ab" * 8, "sequence": 1, "unpainted": 0, "classes": json.dumps(NAMED), **values}
    if mask is not None:
        sent["mask"] = upload("mask.png", saved(Image.fromarray(mask.astype(np.uint8))))
    return sent


def test_photos_without_masks_open_the_paint_page(alice):
    photos = [upload(f"{stem}.png", saved(photo(96))) for stem in ("one", "two")]
    response = alice.post("/finetune/paint/", {"images": photos})
    one = Example.objects.get(stem="one")
    assert response["Location"] == f"/finetune/paint/{one.public_id}/"
    page = text(alice.get(response["Location"]))
    assert "Paint: " in page and "Next image" in page and 'id="paint-page"' in page and 'style="' not in page
    studio = text(alice.get("/finetune/"))
    assert "2 images without strokes" in studio and 'id="train-form"' not in studio


@pytest.mark.parametrize("sent", [{}, {"images": [upload("bad.png", io.BytesIO(b"<html>"))]}], ids=["none", "no image"])
def test_what_cannot_be_painted_on_is_said(alice, sent):
    response = alice.post("/finetune/paint/", sent)
    assert response.status_code == 422
    assert "Choose one or more to paint on" in text(response) or "bad.png" in text(response)
    assert not Example.objects.exists()


def test_a_save_answers_with_the_next_revision_and_is_there_after_a_reload(alice):
    (one,) = begin(alice, "one")
    address = f"/finetune/paint/{one.public_id}/mask"
    assert alice.get(address)["X-Revision"] == "0"
    answer = alice.post(address, fields(truth()))
    assert answer.json() == {"revision": 1, "ready": True}
    again = alice.get(address)
    assert again["X-Revision"] == "1"
    assert (np.asarray(Image.open(io.BytesIO(again.content))) == truth()).all()


@pytest.mark.parametrize("view", ["", "mask", "mask.png"])
def test_another_visitor_sees_none_of_it(alice, charlie, view):
    (one,) = begin(alice, "one")
    address = f"/finetune/paint/{one.public_id}/{view}"
    assert (alice.get(address).status_code, charlie.get(address).status_code) == (200, 404)


@pytest.mark.parametrize("view", ["mask", "edit/", "nothing/"])
def test_another_visitor_changes_none_of_it(alice, charlie, view):
    (one,) = begin(alice, "one")
    assert charlie.post(f"/finetune/paint/{one.public_id}/{view}", fields(truth())).status_code == 404
    assert Painting.objects.get().revision == 0 and not Painting.objects.get().nothing_there


def test_a_save_from_an_older_revision_is_a_conflict_that_says_what_is_there(alice):
    (one,) = begin(alice, "one")
    address = f"/finetune/paint/{one.public_id}/mask"
    alice.post(address, fields(truth()))
    answer = alice.post(address, fields(truth(), editor="cd" * 8))
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "painted_elsewhere" and answer.json()["error"]["revision"] == 1
    assert alice.post(address, fields(truth(), editor="cd" * 8, base=1)).json()["revision"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": "[]"},
        {"classes": "{"},
        {"classes": json.dumps([{"id": 255, "name": "x", "color": "#000000"}])},
        {"classes": json.dumps([NAMED[0], NAMED[0]])},
        {"classes": json.dumps([{"id": k, "name": "x", "color": "#000000"} for k in range(65)])},
        {"classes": json.dumps([{"id": 0, "name": "x", "color": "red"}])},
        {"unpainted": 9},
        {"unpainted": 256},
        {"editor": "../../x"},
        {"sequence": 0},
        {"base": -1},
    ],
    ids=lambda wrong: next(iter(wrong.items()))[1].__str__()[:30],
)
def test_what_does_not_fit_is_refused_in_words(alice, wrong):
    (one,) = begin(alice, "one")
    answer = alice.post(f"/finetune/paint/{one.public_id}/mask", fields(truth(), **wrong))
    assert answer.status_code == 422 and answer.json()["error"]["message"]
    assert Painting.objects.get().revision == 0


def test_a_mask_of_another_size_or_with_a_strange_value_is_refused(alice):
    (one,) = begin(alice, "one")
    address = f"/finetune/paint/{one.public_id}/mask"
    answer = alice.post(address, fields(np.zeros((96, 95))))
    assert answer.status_code == 422 and "95 × 96" in answer.json()["error"]["message"]
    answer = alice.post(address, fields(np.full((96, 96), 9)))
    assert answer.status_code == 422 and "value 9" in answer.json()["error"]["message"]


def test_the_download_holds_class_ids_with_unpainted_pixels_as_chosen(alice):
    (one,) = begin(alice, "one")
    values = np.where(truth() == 1, 1, 255)
    alice.post(f"/finetune/paint/{one.public_id}/mask", fields(values))
    sent = Image.open(io.BytesIO(alice.get(f"/finetune/paint/{one.public_id}/mask.png").content))
    assert sent.mode == "P" and (np.asarray(sent) == truth()).all()
    assert sent.getpalette()[3:6] == [0, 255, 0]


def test_names_chosen_while_painting_arrive_in_the_class_table_and_in_the_run(alice):
    one, two = begin(alice, "one", "two")
    for example in (one, two):
        alice.post(f"/finetune/paint/{example.public_id}/mask", fields(truth()))
    page = text(alice.get("/finetune/"))
    assert 'value="leaf"' in page and 'value="#00ff00"' in page and "painted here" in page and "Train my model" in page
    alice.post("/finetune/train/", {})
    assert TrainingRun.objects.get().classes == NAMED


def test_the_table_and_the_canvas_agree_whichever_was_changed_last(alice):
    (one,) = begin(alice, "one")
    address = f"/finetune/paint/{one.public_id}/"
    alice.post(f"{address}mask", fields(truth()))
    alice.post("/finetune/classes/", {"name-0": "soil", "color-0": "#101010", "name-1": "petal", "color-1": "#ff00ff"})
    assert "petal" in text(alice.get(address)) and "#ff00ff" in text(alice.get(address))
    renamed = [{**NAMED[0], "name": "earth"}, NAMED[1]]
    alice.post(f"{address}mask", fields(None, classes=json.dumps(renamed), sequence=2))
    page = text(alice.get("/finetune/"))
    assert 'value="earth"' in page and 'value="leaf"' in page and "petal" not in page


def test_training_takes_what_is_painted_and_the_other_images_wait_beside_it(alice):
    one, two = begin(alice, "one", "two")
    response = alice.post("/finetune/train/", {}, headers=HTMX)
    assert response.status_code == 422 and "Nothing is painted yet" in text(response)
    alice.post(f"/finetune/paint/{one.public_id}/mask", fields(truth()))
    assert "Training leaves it out" in text(alice.get("/finetune/"))
    alice.post("/finetune/train/", {})
    assert [example.stem for example in TrainingRun.objects.get().examples.all()] == ["one"]
    assert Example.objects.filter(draft=True).count() == 2, "the strokes of both count for the next training too"
    assert "1 other image waits for the next training" in text(alice.get("/finetune/"))
    TrainingRun.objects.update(state=State.DONE, ended=timezone.now())
    assert 'data-land="result"' in text(alice.get("/finetune/")), "its result is what to look at"
    alice.post(f"/finetune/paint/{two.public_id}/nothing/")
    Painting.objects.filter(example=two).update(updated=timezone.now())
    assert 'data-land="classes"' in text(alice.get("/finetune/"))
    alice.post("/finetune/train/", {})
    assert TrainingRun.objects.latest("pk").examples.count() == 2
    assert not Example.objects.filter(draft=True).exists()


def test_an_image_that_a_training_has_used_stays_in_the_strip_and_is_painted_on_as_a_copy(alice):
    one, two = begin(alice, "one", "two")
    alice.post(f"/finetune/paint/{one.public_id}/mask", fields(truth()))
    alice.post("/finetune/train/", {})
    page = text(alice.get(f"/finetune/paint/{two.public_id}/"))
    assert f'action="/finetune/paint/{one.public_id}/edit/"' in page and "corrected" in page and "no strokes" in page
    copy = alice.post(f"/finetune/paint/{one.public_id}/edit/")["Location"]
    assert alice.get(copy).status_code == 200 and one.public_id not in copy
    assert Example.objects.filter(draft=True).count() == 2


def test_strokes_are_all_that_is_known_from_the_first_image_on(alice):
    one, _two = begin(alice, "one", "two")
    page = text(alice.get(f"/finetune/paint/{one.public_id}/"))
    assert "Unpainted pixels stay unknown." in page and 'value="scribble" checked' in page
    values = np.full((96, 96), 255)
    values[40:43, 40:60], values[2:5, 10:40] = 1, 0
    alice.post(f"/finetune/paint/{one.public_id}/mask", fields(values, unpainted=255))
    studio = text(alice.get("/finetune/"))
    assert "the unpainted pixels (98 %) are unknown" in studio and "is it the background" not in studio
    assert "of the pixels only" not in studio, "a few strokes are no small class"
    alice.post("/finetune/train/", {"name-255": "unknown", "name-0": "background", "name-1": "leaf"})
    run = TrainingRun.objects.get()
    assert run.classes == NAMED
    learnt = example_files.ids_of(run.examples.get(), ClassMapping.from_dict(run.reading))
    assert (learnt == values).all()


def test_a_switch_to_whole_masks_holds_for_the_images_nobody_has_painted_on(alice):
    one, three, two = begin(alice, "one", "two", "three")
    alice.post(f"/finetune/paint/{two.public_id}/mask", fields(truth(), unpainted=255))
    alice.post(f"/finetune/paint/{one.public_id}/mask", fields(truth(), unpainted=0))
    kept = dict(Painting.objects.values_list("example__stem", "unpainted"))
    assert kept == {"one": 0, "two": 255, "three": 0}
    assert 'value="whole" checked' in text(alice.get(f"/finetune/paint/{three.public_id}/"))
    assert begin(alice, "four") and Painting.objects.get(example__stem="four").unpainted == 0


def test_a_thumbnail_has_another_address_after_every_save(alice):
    (one,) = begin(alice, "one")
    before = text(alice.get("/finetune/"))
    alice.post(f"/finetune/paint/{one.public_id}/mask", fields(truth()))
    address = f"/files/examples/{one.public_id}/overlay?v="
    after = text(alice.get("/finetune/"))
    stamps = {page.split(address)[1].split('"')[0] for page in (before, after)}
    assert len(stamps) == 2
    assert alice.get(address + stamps.pop()).status_code == 200


def test_an_uploaded_mask_can_be_painted_on(alice):
    alice.post("/finetune/", pairs("one"))
    one = Example.objects.get()
    assert f"/finetune/paint/{one.public_id}/edit/" in text(alice.get("/finetune/"))
    response = alice.post(f"/finetune/paint/{one.public_id}/edit/")
    assert response["Location"] == f"/finetune/paint/{one.public_id}/"
    assert alice.get(response["Location"]).status_code == 200
    assert "object" in text(alice.get("/finetune/"))


def done(client, **values) -> TrainingRun:
    """A training of Alice's on one uploaded pair that has ended with an active model."""
    client.post("/finetune/", pairs("one"))
    client.post("/finetune/train/", {})
    run = TrainingRun.objects.get()
    model = make(client.visitor, active=True, classes=CLASSES, run_id=run.public_id, **values)
    UserModel.objects.update(name="First")
    TrainingRun.objects.update(state=State.DONE, model=model)
    run.refresh_from_db()
    return run


def test_a_result_is_mended_and_trained_on_from_its_model(alice, charlie):
    run = done(alice)
    model = run.model
    result = analyzed(alice.visitor, model=model, model_key=model.key)
    assert f"/analyze/{result.public_id}/fix/" in text(alice.get(f"/analyze/{result.public_id}/"))
    assert charlie.post(f"/analyze/{result.public_id}/fix/").status_code == 404
    response = alice.post(f"/analyze/{result.public_id}/fix/")
    page = text(alice.get(response["Location"]))
    assert "Only what I touched" in page and "All of it is right" in page and "/proposal" in page
    assert "Continue training “First”" in page and "Its 1 example and 0 corrected results" in page
    assert "Continue training “First”" not in text(alice.get("/finetune/")), "an answer nobody confirmed never teaches"
    assert alice.post(f"/finetune/paint/on/{model.public_id}/").status_code == 422
    accepted = alice.post(f"{response['Location']}accept", {"base": 1, "editor": "ab" * 8, "sequence": 1})
    assert accepted.json()["state"] == "accepted"
    assert "Its 1 example and 1 corrected result " in text(alice.get(response["Location"]))
    assert "Continue training “First”" in text(alice.get("/finetune/"))
    assert charlie.post(f"/finetune/paint/on/{model.public_id}/").status_code == 404
    alice.post(f"/finetune/paint/on/{model.public_id}/")
    newest = TrainingRun.objects.exclude(pk=run.pk).get()
    assert newest.continued_from == model and newest.examples.count() == 2
    assert newest.classes == CLASSES


def test_a_result_of_the_base_is_mended_without_a_model_to_train_on_from(alice):
    response = alice.post(f"/analyze/{analyzed(alice.visitor).public_id}/fix/")
    assert "Continue training “" not in text(alice.get(response["Location"]))


def test_improving_a_model_lets_the_next_training_go_on_from_it(alice, charlie):
    run = done(alice)
    assert charlie.post(f"/finetune/paint/improve/{run.model.public_id}/").status_code == 404
    assert f"/finetune/paint/improve/{run.model.public_id}/" in text(alice.get("/finetune/"))
    alice.post(f"/finetune/paint/improve/{run.model.public_id}/")
    page = text(alice.get("/finetune/"))
    assert "continues from “First”" in page and 'id="step-images" open' in page and 'data-land="images"' in page
    alice.post("/finetune/", pairs("two"))
    assert 'value="=disc"' in text(alice.get("/finetune/")), "the new masks have the model's names"
    alice.post("/finetune/train/", {"name": "Second"})
    newest = TrainingRun.objects.exclude(pk=run.pk).get()
    assert (newest.name, newest.continued_from, newest.examples.count()) == ("Second", run.model, 2)
    assert "continues from" not in text(alice.get("/finetune/"))


def test_photos_added_to_a_model_are_painted_with_its_classes(alice):
    run = done(alice)
    alice.post(f"/finetune/paint/improve/{run.model.public_id}/")
    alice.post("/finetune/paint/", {"images": [upload("new.png", saved(photo(96)))]})
    new = Example.objects.get(stem="new")
    page = text(alice.get(f"/finetune/paint/{new.public_id}/"))
    assert "=disc" in page and '"object"' not in page and "Continue training “" not in page
    classes = json.dumps([*CLASSES, {"id": 2, "name": "sky", "color": "#56b4e9"}])
    alice.post(f"/finetune/paint/{new.public_id}/mask", fields(np.where(truth() == 1, 2, 1), classes=classes))
    alice.post("/finetune/train/", {})
    newest = TrainingRun.objects.exclude(pk=run.pk).get()
    assert [(row["id"], row["name"]) for row in newest.classes] == [(0, "background"), (1, "=disc"), (2, "sky")]
    assert newest.continued_from == run.model and newest.examples.count() == 2


def test_starting_a_new_model_takes_it_back(alice):
    run = done(alice)
    alice.post(f"/finetune/paint/improve/{run.model.public_id}/")
    alice.post("/finetune/paint/afresh/")
    alice.post("/finetune/", pairs("two"))
    alice.post("/finetune/train/", {})
    newest = TrainingRun.objects.exclude(pk=run.pk).get()
    assert newest.continued_from is None and newest.examples.count() == 1


def test_training_on_without_anything_new_is_refused_in_words(alice):
    run = done(alice)
    response = alice.post(f"/finetune/paint/on/{run.model.public_id}/")
    assert response.status_code == 422 and "Nothing was added" in text(response)


def test_names_with_markup_are_text_on_the_paint_page(alice):
    (one,) = begin(alice, "<b>one")
    paint_classes.share_classes(alice.visitor, [{"id": 1, "name": "</script><b>x", "color": "#00ff00"}])
    page = text(alice.get(f"/finetune/paint/{one.public_id}/"))
    assert "</script><b>x" not in page and "<b>one" not in page


def test_a_class_added_by_mistake_is_removed_and_one_in_use_is_not(alice, charlie):
    (one,) = begin(alice, "one")
    address = f"/finetune/paint/{one.public_id}/"
    added = json.dumps([*NAMED, {"id": 2, "name": "oops", "color": "#0000ff"}])
    alice.post(f"{address}mask", fields(truth(), classes=added))
    assert charlie.post(f"{address}classes/2/remove/").status_code == 404
    assert alice.post(f"{address}classes/2/remove/").json() == {"status": "ok"}
    assert "oops" not in text(alice.get(address))
    refused = alice.post(f"{address}classes/1/remove/")
    assert refused.status_code == 422
    assert refused.json()["error"]["message"] == "“leaf” is painted on “one”. Paint over it there first."


def test_progress_is_shown_where_one_trains_and_to_its_owner_alone(alice, charlie):
    one, two = begin(alice, "one", "two")
    assert "Agreement before correction" not in text(alice.get("/finetune/"))
    for example, dice in ((one, 0.625), (two, 0.875)):
        Painting.objects.filter(example=example).update(dice=dice, accepted=timezone.now())
    page = text(alice.get("/finetune/"))
    assert "Agreement before correction" in page and "0.625" in page
    assert 'points="0.00,37.50 100.00,12.50"' in page
    assert "Agreement before correction" not in text(charlie.get("/finetune/"))
    model = make(alice.visitor, active=True)
    run = TrainingRun.objects.create(visitor=alice.visitor, state=State.DONE)
    run.examples.add(two)
    UserModel.objects.filter(pk=model.pk).update(run_id=run.public_id)
    page = text(alice.get(f"/models/{model.public_id}/"))
    assert "0.875" in page and "0.625" not in page, "of the images it learnt from"
