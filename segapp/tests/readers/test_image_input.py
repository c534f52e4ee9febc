"""The page and channels of a file: chosen before a training, stored with the model, applied to every later image."""

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from registry.models import UserModel
from registry.tests.test_services import make
from segapp.imaging import InvalidFile
from segapp.imaging.image_input import ImageInput, Layout, of_set, parse
from segapp.models import Analysis, Example, TrainingRun
from segapp.services import analyses, batches, example_files, intake
from segapp.tests.batch.conftest import net  # noqa: F401
from segapp.tests.imaging.drawing import photo, saved, shapes
from segapp.tests.readers.making import colour, grey, tiff
from segapp.worker import batch as batch_worker


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def upload(name: str, file) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, file.getvalue())


def five_channels(side: int = 96) -> np.ndarray:
    return np.stack([np.roll(grey(side, side), 9 * k, axis=1) for k in range(5)], axis=-1)


def multi(values: np.ndarray, name: str = "a.tif") -> SimpleUploadedFile:
    return upload(name, tiff(values, photometric="minisblack", planarconfig="contig"))


def mask(name: str) -> SimpleUploadedFile:
    return upload(name, saved(shapes([0, 1])))


@pytest.mark.parametrize(
    ("channels", "page", "expected"),
    [
        ("3,2,1", "", ImageInput("", (3, 2, 1))),
        (" 2 ", "MAX", ImageInput("max", (2,))),
        ("", "07", ImageInput("7")),
        ("", "", ImageInput()),
    ],
)
def test_a_choice_is_read_as_people_write_it(channels, page, expected):
    assert parse(channels, page) == expected


@pytest.mark.parametrize(
    ("channels", "page"), [("a", ""), ("1,2", ""), ("0", ""), ("1,2,3,4", ""), ("", "0"), ("", "first")]
)
def test_what_is_no_choice_is_said(channels, page):
    with pytest.raises(ValueError, match="Name"):
        parse(channels, page)


def test_a_model_of_plain_images_stores_no_choice_and_one_of_stacks_stores_it_whole():
    assert of_set(ImageInput(), [Layout(1, 3), Layout(1, 1)]).empty
    assert of_set(ImageInput(), [Layout(1, 5)]) == ImageInput("", (1, 2, 3), 5)
    assert of_set(parse("2", "max"), [Layout(9, 4), Layout(7, 4)]) == ImageInput("max", (2,), 4)
    assert of_set(ImageInput(), [Layout(3, 1), Layout(1, 1)]).page == "1"


def test_a_training_over_the_api_uses_and_keeps_the_channels(alice):
    values = five_channels()
    sent = {
        "images": [multi(values, f"{stem}.tif") for stem in "ab"],
        "masks": [mask(f"{stem}.png") for stem in "ab"],
        "channels": "5,3,1",
    }
    response = alice.post("/api/finetune", sent)
    assert response.status_code == 202, response.json()
    run = TrainingRun.objects.get(public_id=response.json()["run_id"])
    example = run.examples.first()
    assert np.array_equal(example_files.image_of(example), values[..., [4, 2, 0]])
    assert intake.input_of(run.examples.all()) == ImageInput("", (5, 3, 1), 5)


def test_what_is_used_without_a_choice_is_in_the_notes(alice):
    sent = {"images": [multi(five_channels())], "masks": [mask("a.png")]}
    notes = alice.post("/api/finetune", sent).json()["notes"]
    assert "a.tif has 5 channels: the first three are used, as none were chosen." in notes


@pytest.mark.parametrize(("channels", "page", "said"), [("6,2,1", "", "5 channels"), ("", "2", "page 2")])
def test_a_choice_that_an_image_does_not_fit_refuses_the_training_naming_both(alice, channels, page, said):
    sent = {"images": [multi(five_channels())], "masks": [mask("a.png")], "channels": channels, "page": page}
    response = alice.post("/api/finetune", sent)
    assert response.status_code == 422
    (entry,) = response.json()["error"]["files"]
    assert entry["file"] == "a.tif" and said in entry["message"] and "chosen" in entry["message"]
    assert not Example.objects.exists()


def test_a_choice_that_is_none_is_a_422(alice):
    response = alice.post("/api/segment", {"file": multi(five_channels()), "channels": "red"})
    assert response.status_code == 422 and "3,2,1" in response.json()["error"]["message"]
    assert not Analysis.objects.exists()


def own_model(visitor: str) -> UserModel:
    model = make(visitor, active=True)
    model.image_input = ImageInput("max", (5, 3, 1), 5).to_dict()
    model.save()
    return model


def image_of(analysis: Analysis) -> np.ndarray:
    return np.asarray(Image.open(analysis.image_path).convert("RGB"))


def test_the_models_choice_is_applied_to_every_later_image(alice):
    own_model(alice.visitor)
    values = five_channels()
    found = analyses.submit(alice.visitor, multi(values), "later.tif")
    assert np.array_equal(image_of(found), values[..., [4, 2, 0]]) and found.notes == []
    other = analyses.submit(alice.visitor, multi(values), "later.tif", choice=parse("2"))
    assert np.array_equal(image_of(other)[..., 0], values[..., 1])
    with pytest.raises(InvalidFile, match=r"It has 3 channels, and what was chosen is .*channels 5, 3, 1 of 5"):
        analyses.submit(alice.visitor, upload("rgb.png", saved(photo(96))), "rgb.png")


def test_a_batch_applies_the_choice_and_says_what_was_decided(alice, net):  # noqa: F811
    values = five_channels()
    made = batches.submit(alice.visitor, [multi(values)], image_input=parse("4"))
    usual = batches.submit(alice.visitor, [multi(values)])
    for one in (made, usual):
        batch_worker.run(one.pk)
    shown = np.asarray(Image.open(made.items.get().shown).convert("RGB"), dtype=int)
    assert np.abs(shown[..., 0] - values[..., 3]).mean() < 4
    assert made.items.get().state == usual.items.get().state == "done"
    assert "first three" in usual.items.get().message and made.items.get().message == ""


def test_the_pages_take_the_choice(alice):
    sent = {"images": [multi(five_channels())], "masks": [mask("a.png")], "channels": "2", "page": ""}
    assert alice.post("/finetune/", sent).status_code in (200, 302)
    assert np.array_equal(example_files.image_of(Example.objects.get())[..., 2], five_channels()[..., 1])
    for address in ("/finetune/", "/analyze/", "/analyze/batch/"):
        content = alice.get(address).content.decode()
        assert 'name="channels"' in content and 'name="page"' in content, address


def test_deep_and_phone_images_come_in_through_the_pages_intake(alice):
    """16 bits, HEIC called .jpg, BMP, GIF: an image each, with masks of their own."""
    from segapp.tests.readers.making import heic

    side = 96
    files = {
        "deep.tif": tiff(grey(side, side).astype(np.uint16) * 4),
        "phone.jpg": heic(Image.fromarray(colour(side, side))),
        "old.bmp": saved(Image.fromarray(colour(side, side)), "BMP"),
        "net.gif": saved(Image.fromarray(colour(side, side)).quantize(64), "GIF"),
        "new.avif": saved(Image.fromarray(colour(side, side)), "AVIF"),
    }
    images = [upload(name, file) for name, file in files.items()]
    stored = intake.store(alice.visitor, images, [mask(f"{name.split('.')[0]}.png") for name in files])
    assert len(stored) == 5
    for example in stored:
        assert example_files.image_of(example).std() > 20, example.stem
