"""The masks that people send, each sent with its image: taken in as the contract says, or refused by name.

The drawn masks are those of the imaging tests; here they come as files, through the upload's own door.
"""

import io

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from segapp.imaging import decode
from segapp.models import Example
from segapp.services import example_files, intake
from segapp.services.errors import InvalidUpload
from segapp.tests.imaging.drawing import SIZE, photo, saved, shapes, truth
from segapp.tests.imaging.test_class_mapping import REFUSED, UNDERSTOOD, deep, rgb16

ALICE = "a" * 32


@pytest.fixture(autouse=True)
def own_media(db, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def send(mask: bytes, shown: Image.Image | None = None, visitor: str = ALICE, **options) -> list[Example]:
    image = SimpleUploadedFile("one.jpg", saved(shown or photo(SIZE), "JPEG", **options).getvalue())
    return intake.store(visitor, [image], [SimpleUploadedFile("one.png", mask)])


def animated(format: str) -> bytes:
    frames = [shapes([0, 255]), shapes([255, 0])]
    return saved(frames[0], format, save_all=True, append_images=frames[1:]).getvalue()


@pytest.mark.parametrize(
    ("file", "trained", "ids", "snapped"), [row[1:] for row in UNDERSTOOD], ids=[row[0] for row in UNDERSTOOD]
)
def test_a_mask_file_is_understood(file, trained, ids, snapped):
    stored = send(file.getvalue())
    mapping = intake.review(stored)
    assert [row["id"] for row in mapping.trained] == trained
    found = example_files.ids_of(stored[0], mapping)
    assert found.shape == (SIZE, SIZE) and set(np.unique(found)) <= {*trained, 255}
    if ids is not None and len(ids) > 1:
        assert (found == np.array(ids, dtype=np.uint8)[truth(len(ids))]).mean() > (0.97 if snapped else 0.9999)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_the_mask(format):
    stored = send(animated(format))
    found = example_files.ids_of(stored[0], intake.review(stored))
    assert (found == truth(2)).mean() > 0.9999


WHOLE = saved(shapes([0, 255])).getvalue()
# what it is, the file, words of the refusal
TURNED_AWAY = [
    *[(name, file.getvalue(), "photo") for name, file in REFUSED],
    ("an empty file", b"", "empty"),
    ("a truncated PNG", WHOLE[: len(WHOLE) // 2], "damaged|cannot be read|incomplete|no PNG"),
    ("a truncated JPEG", saved(shapes([0, 255]), "JPEG").getvalue()[:-400], "damaged|cannot be read|incomplete"),
    ("a web page named .png", b"<!doctype html><p>mask", "a web page"),
    ("an SVG named .png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG|no PNG"),
    ("a PDF named .png", b"%PDF-1.7 mask", "a PDF"),
    ("another size", saved(shapes([0, 255]).resize((40, 30))).getvalue(), "40 × 30 pixels.* 96 × 96"),
    ("16 bits a channel in colour", rgb16(shapes([0, 1])), "16 bits a channel"),
    ("numbers saved as JPEG", saved(shapes([0, 1, 2]), "JPEG", quality=75).getvalue(), "saved with loss"),
    ("a pickle", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x04evil\x94.", "no PNG"),
]


@pytest.mark.parametrize(("file", "words"), [row[1:] for row in TURNED_AWAY], ids=[row[0] for row in TURNED_AWAY])
def test_a_mask_file_is_refused_by_name_and_nothing_is_stored(file, words, tmp_path):
    of_its_size = photo(512).rotate(90).resize(Image.open(io.BytesIO(file)).size) if words == "photo" else None
    with pytest.raises(InvalidUpload, match=words) as refusal:
        send(file, of_its_size)
    (problem,) = refusal.value.problems
    assert problem["file"] == "one.png" and problem["message"].endswith(".")
    assert not Example.objects.exists() and not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_corpus_is_large():
    files = {row[1].getvalue() for row in UNDERSTOOD} | {row[1] for row in TURNED_AWAY}
    assert len(files) >= 50


@pytest.mark.fault(14)
def test_zero_one_and_zero_255_teach_the_same():
    """The class table and every pixel agree, and nothing else of a mask reaches the training."""
    first, second = (send(saved(shapes([0, top])).getvalue(), visitor=f"{top}") for top in (1, 255))
    one, other = (intake.review(stored) for stored in (first, second))
    assert one.trained == other.trained
    assert np.array_equal(example_files.ids_of(first[0], one), example_files.ids_of(second[0], other))


@pytest.mark.fault(7)
def test_an_image_that_was_held_upright_keeps_its_mask_in_place():
    """The camera stored the photo lying and says so in its EXIF; the mask was drawn on the upright one."""
    exif = Image.Exif()
    exif[decode.ORIENTATION] = 6
    lying = shapes([0, 255]).crop((0, 0, 96, 60))
    upright = lying.transpose(Image.Transpose.ROTATE_270)
    stored = send(saved(upright).getvalue(), shown=lying.convert("RGB"), exif=exif)
    image, ids = example_files.image_of(stored[0]), example_files.ids_of(stored[0], intake.review(stored))
    assert ids.shape == image.shape[:2] == (96, 60)
    assert ((image[..., 0] > 127) == (ids == 1)).mean() > 0.98


@pytest.mark.fault(10)
def test_values_of_16_bits_are_numbered_over_the_whole_set():
    image = [SimpleUploadedFile(f"{name}.jpg", saved(photo(SIZE), "JPEG").getvalue()) for name in ("one", "two")]
    files = [SimpleUploadedFile(f"{n}.png", deep(v).getvalue()) for n, v in (("one", [0, 700]), ("two", [3, 5000]))]
    stored = intake.store(ALICE, image, files)
    mapping = intake.review(stored)
    assert [(row["id"], row["source"]) for row in mapping.classes] == [(0, "0"), (3, "3"), (4, "700"), (5, "5000")]
    assert [set(np.unique(example_files.ids_of(one, mapping))) for one in stored] == [{0, 4}, {3, 5}]


def test_a_name_with_nul_and_folders_is_a_name():
    image = io.BytesIO(saved(photo(SIZE)).getvalue())
    image.name = "..\\up/a\0b.png"
    mask = io.BytesIO(WHOLE)
    mask.name, mask.size, image.size = "a\0b.png", len(WHOLE), 1
    (stored,) = intake.store(ALICE, [image], [mask])
    assert stored.stem == "ab"
