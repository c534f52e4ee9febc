"""Named training sets: kept, opened, renamed, duplicated, deleted, downloaded; one is open at a time."""

import io
import zipfile

import pytest

from segapp.models import Example, TrainingRun, TrainingSet
from segapp.services import runs
from segapp.tests.views.rows import pairs, upload


def text(response) -> str:
    return response.content.decode()


def drafts(visitor: str) -> list[str]:
    return [example.stem for example in Example.objects.filter(visitor=visitor, draft=True)]


def stems(one: TrainingSet) -> list[str]:
    return [example.stem for example in one.examples.all()]


@pytest.fixture
def leaves(alice) -> TrainingSet:
    """An open set of Alice's with one image."""
    alice.post("/finetune/", pairs("leaf"))
    alice.post("/finetune/sets/save/", {"name": "Leaves"})
    return TrainingSet.objects.get(visitor=alice.visitor)


def test_the_open_set_follows_what_is_added_and_removed(alice, leaves):
    assert leaves.open and stems(leaves) == ["leaf"]
    alice.post("/finetune/", pairs("stem"))
    assert stems(leaves) == ["leaf", "stem"]
    alice.post(f"/finetune/examples/{leaves.examples.get(stem='leaf').public_id}/remove/")
    assert stems(leaves) == ["stem"] == drafts(alice.visitor)
    assert Example.objects.count() == 1, "no training and no set needs the other"


def test_opening_another_set_changes_the_images_and_class_names_and_loses_nothing(alice, leaves):
    alice.post("/finetune/classes/", {"name-0": "ground", "color-0": "#112233", "name-1": "leaf", "color-1": "#44aa55"})
    alice.post("/finetune/sets/close/")
    assert drafts(alice.visitor) == [] and stems(leaves) == ["leaf"]
    assert 'value="ground"' not in text(alice.get("/finetune/"))
    alice.post("/finetune/", pairs("cell"))
    alice.post(f"/finetune/sets/{leaves.public_id}/open/")
    page = text(alice.get("/finetune/"))
    assert drafts(alice.visitor) == ["leaf"] and 'value="ground"' in page
    assert "The images that had no name yet are kept as “Unnamed set”" in page
    other = TrainingSet.objects.get(visitor=alice.visitor, name="Unnamed set")
    assert stems(other) == ["cell"] and not other.open


def test_a_training_closes_the_set_which_keeps_its_images(alice, leaves):
    alice.post("/finetune/train/", {"name": "first", "effort": "quick"})
    run = TrainingRun.objects.get(visitor=alice.visitor)
    leaves.refresh_from_db()
    assert not leaves.open and stems(leaves) == ["leaf"]
    runs.stop(run, keep=False)
    alice.post("/finetune/", pairs("new"))
    assert stems(leaves) == ["leaf"], "what comes later is not part of it"
    alice.post(f"/finetune/sets/{leaves.public_id}/open/")
    assert drafts(alice.visitor) == ["leaf"]


def test_a_duplicate_has_files_of_its_own(alice, leaves):
    alice.post(f"/finetune/sets/{leaves.public_id}/duplicate/")
    copy = TrainingSet.objects.get(name="Leaves (copy)")
    first, second = leaves.examples.get(), copy.examples.get()
    assert first.public_id != second.public_id and drafts(alice.visitor) == ["leaf"]
    assert {path.name for path in first.folder.iterdir()} == {path.name for path in second.folder.iterdir()}
    alice.post(f"/finetune/sets/{leaves.public_id}/delete/")
    assert not first.folder.exists() and second.image_path.exists()
    assert drafts(alice.visitor) == []
    assert Example.objects.get() == second


def test_a_set_is_renamed(alice, leaves):
    alice.post(f"/finetune/sets/{leaves.public_id}/rename/", {"name": "Grass"})
    assert "Grass" in text(alice.get("/finetune/"))
    alice.post(f"/finetune/sets/{leaves.public_id}/rename/", {"name": " "})
    assert "A name is needed" in text(alice.get("/finetune/"))
    assert TrainingSet.objects.get().name == "Grass"


def test_deleting_a_set_leaves_what_a_training_used(alice, leaves):
    alice.post("/finetune/train/", {"name": "first", "effort": "quick"})
    alice.post(f"/finetune/sets/{leaves.public_id}/delete/")
    assert TrainingRun.objects.get().examples.get().image_path.exists()


def test_the_zip_comes_back_as_the_same_set(alice, charlie, leaves):
    alice.post("/finetune/classes/", {"name-0": "ground", "color-0": "#112233", "name-1": "leaf", "color-1": "#44aa55"})
    for address in ("/finetune/images.zip", f"/finetune/sets/{leaves.public_id}/images.zip"):
        response = alice.get(address)
        assert response["Content-Disposition"] == 'attachment; filename="Leaves.zip"'
        content = b"".join(response.streaming_content)
        assert "images/leaf.png" in zipfile.ZipFile(io.BytesIO(content)).namelist()
    charlie.post("/finetune/", {"archives": upload("leaves.zip", io.BytesIO(content))})
    page = text(charlie.get("/finetune/"))
    assert 'value="ground"' in page and 'value="leaf"' in page and "#44aa55" in page


def test_the_images_of_a_training_can_be_downloaded(alice, leaves):
    alice.post("/finetune/train/", {"name": "first", "effort": "quick"})
    response = alice.get(f"/finetune/runs/{TrainingRun.objects.get().public_id}/images.zip")
    with zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content))) as archive:
        assert {"images/leaf.png", "masks/leaf.png", "classes.json"} <= set(archive.namelist())


def test_without_images_there_is_nothing_to_save_or_download(alice):
    alice.post("/finetune/sets/save/", {"name": "Empty"})
    assert "There are no images to save" in text(alice.get("/finetune/"))
    assert alice.get("/finetune/images.zip").status_code in (404, 422)


def test_another_visitors_set_is_not_found(alice, charlie, leaves):
    for what in ("open", "rename", "duplicate", "delete"):
        assert charlie.post(f"/finetune/sets/{leaves.public_id}/{what}/", {"name": "x"}).status_code == 404
    assert charlie.get(f"/finetune/sets/{leaves.public_id}/images.zip").status_code == 404
    assert stems(leaves) == ["leaf"]


def test_sets_of_visitors_who_become_one_are_kept_and_one_is_open(alice, charlie, leaves):
    from segapp.services import restore

    charlie.post("/finetune/", pairs("cell"))
    charlie.post("/finetune/sets/save/", {"name": "Cells"})
    restore.join(charlie.visitor, alice.visitor)
    assert TrainingSet.objects.filter(visitor=alice.visitor).count() == 2
    assert TrainingSet.objects.get(open=True) == leaves
    assert stems(leaves) == sorted(drafts(alice.visitor)) == ["cell", "leaf"]
