"""Another page or other channels for images that were uploaded already."""

import io

import numpy as np
import pytest
import tifffile

from segapp.imaging.image_input import ImageInput
from segapp.models import Example, TrainingRun
from segapp.services import example_files, intake
from segapp.tests.imaging.drawing import saved, shapes
from segapp.tests.views.rows import pairs, upload


@pytest.fixture
def stack(alice) -> np.ndarray:
    """uint16 (3, 5, 96, 96), pages and channels, uploaded as Alice's draft."""
    values = np.random.default_rng(1).integers(0, 4000, (3, 5, 96, 96)).astype(np.uint16)
    out = io.BytesIO()
    tifffile.imwrite(out, values, imagej=True, metadata={"axes": "ZCYX"})
    out.seek(0)
    alice.post(
        "/finetune/", {"images": [upload("cells.tif", out)], "masks": [upload("cells.png", saved(shapes([0, 255])))]}
    )
    return values


def page(alice) -> str:
    return alice.get("/finetune/").content.decode()


def test_the_page_offers_what_the_file_holds(alice, stack):
    text = page(alice)
    assert "brightest of all" in text and 'value="3"' in text and "Of 5 channels" in text
    alice.post("/finetune/clear/")
    alice.post("/finetune/", pairs("plain"))
    assert 'id="input-choice"' not in page(alice)


def test_a_choice_replaces_the_image_and_keeps_the_mask(alice, stack):
    before = Example.objects.get(visitor=alice.visitor)
    ids = example_files.ids_of(before, intake.review([before]))
    assert alice.post("/finetune/input/", {"page": "2", "channels": "5,1,3"}).status_code == 302
    after = Example.objects.get(visitor=alice.visitor, draft=True)
    assert after.public_id != before.public_id and not before.folder.exists()
    assert intake.input_of([after]) == ImageInput("2", (5, 1, 3), 5)
    red = example_files.image_of(after)[..., 0].astype(float)
    assert np.corrcoef(red.ravel(), stack[1, 4].astype(float).ravel())[0, 1] > 0.99
    assert np.array_equal(example_files.ids_of(after, intake.review([after])), ids)
    assert "as no page was chosen" not in page(alice)


def test_a_choice_that_does_not_fit_changes_nothing(alice, stack):
    before = Example.objects.get(visitor=alice.visitor)
    response = alice.post("/finetune/input/", {"page": "1", "channels": "9"})
    assert response.status_code == 422 and "5 channels" in response.content.decode()
    assert Example.objects.get(visitor=alice.visitor) == before and before.image_path.exists()


def test_what_a_training_used_stays_as_it_was(alice, stack):
    alice.post("/finetune/train/", {"name": "first", "effort": "quick"})
    run = TrainingRun.objects.get()
    used = run.examples.get()
    image = example_files.image_of(used)
    run.state = "done"
    run.save()
    alice.post(f"/finetune/runs/{run.public_id}/again/")
    alice.post("/finetune/input/", {"page": "max", "channels": "2"})
    assert np.array_equal(example_files.image_of(run.examples.get()), image)
    draft = Example.objects.get(visitor=alice.visitor, draft=True)
    assert draft != used and intake.input_of([draft]).page == "max"
