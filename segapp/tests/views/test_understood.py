"""What was understood about uploaded files is said, on the page and over the API, with a way to say otherwise."""

import io
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from segapp.models import Example, TrainingRun
from segapp.services import example_files, intake
from segapp.tests.imaging.drawing import photo, saved, shapes
from segapp.tests.services.test_training_rows import cells


def text(response) -> str:
    return response.content.decode()


def numbered(*counts: int) -> dict:
    image = saved(photo(200)).getvalue()
    masks = [saved(Image.fromarray(cells(count))).getvalue() for count in counts]
    return {
        "images": [SimpleUploadedFile(f"{k}_input.png", image) for k in range(len(counts))],
        "masks": [SimpleUploadedFile(f"{k}_expert1.png", mask) for k, mask in enumerate(masks)],
    }


def test_the_page_says_which_endings_it_took_off_and_that_it_found_objects(alice):
    alice.post("/finetune/", numbered(21, 8))
    page = text(alice.get("/finetune/"))
    assert "“_expert1”" in page and "29 objects" in page and "They are classes" in page
    alice.post("/finetune/reading/", {"objects": "false"})
    page = text(alice.get("/finetune/"))
    assert "Yes, objects of one class" in page and "class 21" in page
    alice.post("/finetune/reading/", {"objects": "true"})
    assert "They are classes" in text(alice.get("/finetune/"))


def test_black_objects_are_swapped_with_one_click(alice):
    mask = saved(shapes([255, 0]).convert("1")).getvalue()
    image = saved(photo(96)).getvalue()
    alice.post("/finetune/", {"images": SimpleUploadedFile("a.png", image), "masks": SimpleUploadedFile("a.png", mask)})
    assert "Swap background and foreground" in text(alice.get("/finetune/"))
    alice.post("/finetune/reading/", {"swap": "true"})
    page = text(alice.get("/finetune/"))
    assert "Swap back" in page and "are swapped" in page


def test_one_class_is_refused_on_the_page_and_over_the_api(alice):
    image, blank = saved(photo(96)).getvalue(), saved(Image.new("L", (96, 96))).getvalue()

    def sent() -> dict:
        return {"images": SimpleUploadedFile("a.png", image), "masks": SimpleUploadedFile("a.png", blank)}

    answer = alice.post("/api/finetune", sent())
    assert answer.status_code == 422 and "nothing to tell apart" in answer.json()["error"]["message"]
    assert not Example.objects.exists()
    alice.post("/finetune/", sent())
    response = alice.post("/finetune/train/", {})
    assert response.status_code == 422 and "nothing to tell apart" in text(response)
    assert not TrainingRun.objects.exists()


@pytest.mark.parametrize(("objects", "classes"), [(None, 2), ("true", 2), ("false", 22)])
def test_the_api_answers_notes_and_takes_objects(alice, objects, classes):
    sent = {**numbered(21, 8), **({"objects": objects} if objects else {})}
    answer = alice.post("/api/finetune", sent)
    assert answer.status_code == 202, answer.content
    notes = answer.json()["notes"]
    assert any("“_expert1”" in note for note in notes)
    run = TrainingRun.objects.get()
    assert len(run.classes) == classes
    assert any(("number objects" if classes == 2 else "objects=true") in note for note in notes)
    assert run.classes[1].get("things", False) is (classes == 2)


def test_folders_sent_beside_loose_files_keep_equal_names_apart(alice):
    image, mask = saved(photo(96)).getvalue(), saved(shapes([0, 255])).getvalue()
    paths = {
        "images": ["set/train/images/a.png", "set/val/images/a.png"],
        "masks": ["set/val/masks/a.png", "set/train/masks/a.png"],
    }
    sent = {
        "images": [SimpleUploadedFile("a.png", image) for _ in range(2)],
        "masks": [SimpleUploadedFile("a.png", mask) for _ in range(2)],
        "paths": json.dumps(paths),
    }
    alice.post("/finetune/", sent)
    assert sorted(Example.objects.values_list("stem", flat=True)) == ["set_train_a", "set_val_a"]


def test_the_class_that_was_ignored_is_taken_back_with_one_click(alice):
    ids = Image.new("L", (96, 96), 255)
    ids.paste(0, (10, 10, 20, 20))
    ids.paste(128, (40, 40, 49, 50))
    image = saved(photo(96)).getvalue()
    mask = io.BytesIO(saved(ids).getvalue())
    alice.post(
        "/finetune/", {"images": SimpleUploadedFile("a.png", image), "masks": SimpleUploadedFile("a.png", mask.read())}
    )
    assert "It is the background" in text(alice.get("/finetune/"))
    alice.post("/finetune/reading/", {"take": "255"})
    example = Example.objects.get()
    edits = alice.session["class_edits"]
    assert 255 not in example_files.ids_of(example, intake.review([example], edits))
