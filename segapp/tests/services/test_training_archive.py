"""Images and masks out as a zip, and in again unchanged."""

import io
import json
import zipfile

import numpy as np
import pytest
import tifffile
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from segapp.imaging import class_mapping
from segapp.imaging.image_input import ImageInput
from segapp.services import example_files, intake, training_archive, zips
from segapp.tests.imaging.drawing import photo, saved, shapes

ALICE, BOB = "a" * 32, "b" * 32


@pytest.fixture(autouse=True)
def own_media(db, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def upload(name: str, content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def out_and_in(examples, mapping):
    """The zip of the examples, and what another visitor gets of it."""
    content = b"".join(zips.stream(training_archive.members(examples, mapping)))
    stored = intake.store(BOB, [], [], [upload("set.zip", content)])
    return zipfile.ZipFile(io.BytesIO(content)), stored


def same(examples, mapping, stored, again) -> None:
    assert [example.stem for example in stored] == [example.stem for example in examples]
    for one, other in zip(examples, stored, strict=True):
        assert np.array_equal(example_files.image_of(one), example_files.image_of(other))
        assert np.array_equal(example_files.ids_of(one, mapping), example_files.ids_of(other, again))
        assert np.array_equal(example_files.instances_of(one, mapping), example_files.instances_of(other, again))
        assert intake.input_of([one]) == intake.input_of([other])
    rows = [
        [
            {key: row[key] for key in ("id", "name", "color", "ignore", "things")}
            for row in m.classes
            if not row["ignore"]
        ]
        for m in (mapping, again)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("values", [[0, 255], [0, 7, 200], [0, 1, 255], [3, 255, 9]], ids=str)
def test_classes_come_back_with_their_numbers_names_and_colours(values):
    masks = [upload(f"{name}.png", saved(shapes(values)).getvalue()) for name in ("a b", "ü")]
    images = [upload(f"{name}.jpg", saved(photo(96), "JPEG").getvalue()) for name in ("a b", "ü")]
    examples = intake.store(ALICE, images, masks)
    mapping = class_mapping.edit(
        intake.review(examples),
        [{"id": intake.review(examples).trained[-1]["id"], "name": "Blatt, grün", "color": "#123456"}],
    )
    archive, stored = out_and_in(examples, mapping)
    same(examples, mapping, stored, intake.review(stored))
    assert {name.split("/")[0] for name in archive.namelist()} == {
        "images",
        "masks",
        "classes.json",
        "annotations.json",
    }


def test_object_numbers_come_back():
    numbers = np.zeros((96, 96), np.uint16)
    images, masks = [], []
    for name, count in (("one", 12), ("two", 7)):
        numbers[:] = 0
        for k in range(count):
            numbers[4 + 22 * (k // 4) : 20 + 22 * (k // 4), 4 + 23 * (k % 4) : 20 + 23 * (k % 4)] = k + 1
        out = io.BytesIO()
        Image.fromarray(numbers).save(out, "PNG")
        images.append(upload(f"{name}.png", saved(photo(96)).getvalue()))
        masks.append(upload(f"{name}.png", out.getvalue()))
    examples = intake.store(ALICE, images, masks)
    mapping = intake.review(examples)
    assert mapping.objects
    archive, stored = out_and_in(examples, mapping)
    same(examples, mapping, stored, intake.review(stored))
    listed = json.loads(archive.read("annotations.json"))
    assert len(listed["annotations"]) == 19
    assert {row["area"] for row in listed["annotations"]} == {256}


def test_a_stack_of_sixteen_bits_comes_back_at_its_own_depth_and_channels():
    values = np.random.default_rng(1).integers(0, 4000, (3, 5, 96, 96)).astype(np.uint16)
    stack = io.BytesIO()
    tifffile.imwrite(stack, values, imagej=True, metadata={"axes": "ZCYX"})
    choice = ImageInput("2", (5, 1, 3), 5)
    images = [upload("cells.ome.tif", stack.getvalue())]
    examples = intake.store(
        ALICE, images, [upload("cells.png", saved(shapes([0, 255])).getvalue())], image_input=choice
    )
    mapping = intake.review(examples)
    archive, stored = out_and_in(examples, mapping)
    same(examples, mapping, stored, intake.review(stored))
    assert intake.input_of(stored) == choice
    with tifffile.TiffFile(io.BytesIO(archive.read("images/cells.tif"))) as tif:
        assert np.array_equal(tif.asarray(), np.moveaxis(values, 1, -1))


@pytest.mark.parametrize("mode", ["L", "I;16", "deep"], ids=["grey", "grey of 16 bits", "colour of 16 bits"])
def test_images_come_back_as_they_were(mode):
    grey = np.asarray(photo(96).convert("L"))
    if mode == "L":
        content = saved(Image.fromarray(grey)).getvalue()
    elif mode == "I;16":
        content = saved(Image.fromarray(grey.astype(np.uint16) * 201 + 3)).getvalue()
    else:
        import imagecodecs

        content = imagecodecs.png_encode(np.asarray(photo(96)).astype(np.uint16) * 201 + 3)
    examples = intake.store(
        ALICE, [upload("a.png", content)], [upload("a_mask.png", saved(shapes([0, 255])).getvalue())]
    )
    mapping = intake.review(examples)
    archive, stored = out_and_in(examples, mapping)
    same(examples, mapping, stored, intake.review(stored))
    back = archive.read("images/a.png")
    if mode == "deep":
        assert np.array_equal(imagecodecs.png_decode(back), imagecodecs.png_decode(content))
    else:
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(back))), np.asarray(Image.open(io.BytesIO(content))))
