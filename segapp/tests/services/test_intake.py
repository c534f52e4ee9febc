"""Pairs come in: all or nothing, by stem, under the server's names."""

import io
import zipfile

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from PIL import Image, ImageFilter

from segapp.imaging import InvalidFile
from segapp.models import Example
from segapp.services import example_files, intake
from segapp.services.errors import InvalidUpload, StorageFull
from segapp.tests.imaging.drawing import photo, saved, shapes, truth

ALICE = "a" * 32


@pytest.fixture(autouse=True)
def own_media(db, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def images(*names: str) -> list[SimpleUploadedFile]:
    return [SimpleUploadedFile(name, saved(photo(96)).getvalue()) for name in names]


def masks(*names: str) -> list[SimpleUploadedFile]:
    return [SimpleUploadedFile(name, saved(shapes([0, 255])).getvalue()) for name in names]


def problems(call) -> dict[str, str]:
    with pytest.raises(InvalidUpload) as refusal:
        call()
    return {problem["file"]: problem["message"] for problem in refusal.value.problems}


def test_pairs_are_stored_and_read_back():
    stored = intake.store(ALICE, images("a.jpg", "b.png"), masks("b.png", "a.png"))
    assert [example.stem for example in stored] == ["a", "b"]
    mapping = intake.review(stored)
    assert np.array_equal(example_files.ids_of(stored[0], mapping), truth())
    assert example_files.image_of(stored[0]).shape == (96, 96, 3)


@pytest.mark.fault(19)
def test_files_without_a_partner_are_all_listed():
    found = problems(lambda: intake.store(ALICE, images("a.png", "b.png"), masks("b.png", "c.png")))
    assert found.keys() == {"a.png", "c.png"}


@pytest.mark.fault(20)
@pytest.mark.parametrize(
    ("first", "second"),
    [("a.png", "a.jpg"), ("Cat.png", "cat.png"), ("caf\u00e9.png", "cafe\u0301.png")],
    ids=["ending", "case", "Unicode form"],
)
def test_the_same_stem_twice_is_a_collision(first, second):
    assert problems(lambda: intake.store(ALICE, images(first, second), masks(first)))
    assert problems(lambda: intake.store(ALICE, images(first), masks(first, second)))


@pytest.mark.fault(21)
@pytest.mark.parametrize(
    "name", ["../../etc/passwd.png", "..\\win.png", "x" * 300 + ".png", "\U0001f63a.png", "<b>.png"]
)
def test_names_are_never_paths(name, tmp_path):
    (stored,) = intake.store(ALICE, images(name), masks(name))
    assert "/" not in stored.stem and len(stored.stem) <= 200
    assert stored.image_path.is_relative_to(tmp_path / "examples")


def test_a_mask_named_after_its_image_is_found():
    assert len(intake.store(ALICE, images("a.png"), masks("a_mask.png"))) == 1


def test_fifty_one_pairs_are_too_many():
    names = [f"{k}.png" for k in range(51)]
    assert "50" in problems(lambda: intake.store(ALICE, images(*names), masks(*names)))[""]


def test_a_full_storage_is_said_before_anything_is_written(settings):
    settings.SEGAPP_STORAGE_BYTES = 100
    with pytest.raises(StorageFull):
        intake.store(ALICE, images("a.png"), masks("a.png"))
    assert not Example.objects.exists()


def test_every_faulty_file_is_named_and_nothing_is_stored(tmp_path):
    sent = images("a.png", "b.png", "c.png", "d.png")
    sent[1] = SimpleUploadedFile("b.png", b"<html>")
    small = SimpleUploadedFile("a.png", saved(shapes([0, 255]).resize((40, 30))).getvalue())
    no_mask = SimpleUploadedFile("c.png", saved(photo(96).rotate(90)).getvalue())
    found = problems(lambda: intake.store(ALICE, sent, [small, *masks("b.png"), no_mask, *masks("d.png")]))
    assert found.keys() == {"a.png", "b.png", "c.png"}
    assert "40 × 30" in found["a.png"] and "96 × 96" in found["a.png"]
    assert "no PNG" in found["b.png"] and "photo" in found["c.png"]
    assert not Example.objects.exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_image_sent_as_its_own_mask_is_refused():
    """Bright spots on black pass for a soft mask; that they are the image itself gives it away."""
    spots = Image.fromarray(np.where(truth() == 1, 180, 5).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7))
    same = [SimpleUploadedFile("a.png", saved(spots).getvalue()) for _ in range(2)]
    assert "itself" in problems(lambda: intake.store(ALICE, same[:1], same[1:]))["a.png"]


@pytest.mark.fault(4)
def test_nothing_of_the_uploaded_file_but_its_pixels_is_kept():
    tail = b"<script>alert(1)</script>"
    exif = Image.Exif()
    exif[0x8298] = "Copyright 51 degrees north"
    sent = SimpleUploadedFile("a.png", saved(photo(96), exif=exif).getvalue() + tail)
    drawn = SimpleUploadedFile("a.png", saved(shapes([0, 255])).getvalue() + tail)
    (stored,) = intake.store(ALICE, [sent], [drawn])
    for path in stored.folder.iterdir():
        assert tail not in path.read_bytes() and b"51 degrees" not in path.read_bytes(), path.name


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_a_large_jpeg_is_kept_as_jpeg_and_looks_the_same(mode):
    image = photo(1500).convert(mode)
    mask = shapes([0, 255]).resize((1500, 1500), Image.Resampling.NEAREST)
    sent = SimpleUploadedFile("a.jpg", saved(image, "JPEG", quality=95).getvalue())
    (stored,) = intake.store(ALICE, [sent], [SimpleUploadedFile("a.png", saved(mask).getvalue())])
    assert stored.image_path.name == "image.jpg"
    shown = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(example_files.image_of(stored).astype(int) - shown).mean() < 2
    small = example_files.ids_of(stored, intake.review([stored]), small=True)
    assert small.shape == (320, 320) and set(np.unique(small)) == {0, 1}


def test_the_review_reads_no_mask(monkeypatch):
    """It is asked on every page, for up to fifty images of any size."""
    stored = intake.store(ALICE, images("a.png"), masks("a.png"))
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: pytest.fail("an image was opened"))
    assert [row["name"] for row in intake.review(stored).trained] == ["background", "object"]


def test_masks_keep_their_own_values_whatever_comes_later():
    """The rule is decided over the set of the day: a 255 is a class today and "ignore" once a 1 joins."""
    first = intake.store(ALICE, images("a.png"), masks("a.png"))
    labelled = SimpleUploadedFile("b.png", saved(shapes([0, 1])).getvalue())
    both = [*first, *intake.store(ALICE, images("b.png"), [labelled])]
    assert set(np.unique(example_files.ids_of(first[0], intake.review(first)))) == {0, 1}
    assert set(np.unique(example_files.ids_of(first[0], intake.review(both)))) == {0, 255}


def test_files_that_are_gone_are_a_refusal_and_no_failure():
    (stored,) = intake.store(ALICE, images("a.png"), masks("a.png"))
    mapping = intake.review([stored])
    for path in stored.folder.iterdir():
        path.unlink()
    for ask in (
        lambda: intake.review([stored]),
        lambda: example_files.ids_of(stored, mapping),
        lambda: example_files.image_of(stored),
    ):
        with pytest.raises(InvalidFile, match="upload it again"):
            ask()


def test_a_training_at_once_does_not_meet_the_drafts():
    intake.store(ALICE, images("a.png"), masks("a.png"))
    (stored,) = intake.store(ALICE, images("a.png"), masks("a.png"), draft=False)
    assert not stored.draft and intake.drafts(ALICE).count() == 1
    intake.discard([stored])
    assert not stored.folder.exists() and Example.objects.count() == 1


def test_the_same_name_again_is_refused_while_it_is_a_draft():
    intake.store(ALICE, images("Cat.png"), masks("Cat.png"))
    assert "already" in problems(lambda: intake.store(ALICE, images("cat.png"), masks("cat.png")))["cat"]


def test_the_limits_of_a_post_hold_here_too(settings):
    settings.UPLOAD_LIMIT_BYTES = 1000
    assert "MB" in problems(lambda: intake.store(ALICE, images("a.png"), masks("a.png")))[""]


def test_a_disk_that_fills_up_in_the_middle_of_a_file_leaves_nothing(monkeypatch, tmp_path):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("registry.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        intake.store(ALICE, images("a.png"), masks("a.png"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not Example.objects.exists()


def test_a_row_that_cannot_be_written_takes_its_files_with_it(monkeypatch, tmp_path):
    def locked(rows):
        raise OperationalError("database is locked")

    monkeypatch.setattr(Example.objects, "bulk_create", locked)
    with pytest.raises(OperationalError):
        intake.store(ALICE, images("a.png"), masks("a.png"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.fault(38)
def test_a_disk_that_fills_up_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(intake, "_store_group", _full_after_one(intake._store_group))
    with pytest.raises(OSError, match="No space left"):
        intake.store(ALICE, images("a.png", "b.png"), masks("a.png", "b.png"))
    assert not Example.objects.exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def _full_after_one(store):
    done = []

    def store_one(*args):
        if done:
            raise OSError(28, "No space left on device")
        done.append(store(*args))
        return done[-1]

    return store_one


def packed(files: dict[str, bytes]) -> SimpleUploadedFile:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return SimpleUploadedFile("set.zip", out.getvalue())


def test_a_zip_of_pairs_is_taken_in():
    image, mask = saved(photo(96)).getvalue(), saved(shapes([0, 1])).getvalue()
    files = {"set/images/a.png": image, "set/masks/a.png": mask, "__MACOSX/._a.png": b"x", "set/readme.txt": b"hello"}
    assert [example.stem for example in intake.store(ALICE, [], [], [packed(files)])] == ["a"]


@pytest.mark.parametrize(
    "files",
    [
        {"../images/a.png": b"x", "masks/a.png": b"x"},
        {"/images/a.png": b"x", "masks/a.png": b"x"},
        {"images/a.png": bytes(50 * 2**20), "masks/a.png": b"x"},
        {"images/a.png": b"x"},
        {f"images/{k}.png": b"x" for k in range(300)},
    ],
    ids=["slips out", "absolute", "bomb", "no masks", "too many"],
)
def test_a_zip_that_cannot_be_trusted_is_refused(files, tmp_path):
    assert problems(lambda: intake.store(ALICE, [], [], [packed(files)]))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_is_no_zip_is_refused():
    assert problems(lambda: intake.store(ALICE, [], [], [SimpleUploadedFile("set.zip", b"PK nonsense")]))


def test_a_draft_is_removed_with_its_files(tmp_path):
    (stored,) = intake.store(ALICE, images("a.png"), masks("a.png"))
    intake.remove("c" * 32, stored.public_id)
    assert Example.objects.exists(), "another visitor cannot"
    intake.remove(ALICE, stored.public_id)
    assert not Example.objects.exists() and not stored.folder.exists()


def test_the_samples_come_once():
    assert len(intake.store_samples(ALICE)) == 6
    assert intake.store_samples(ALICE) == []
    assert [row["id"] for row in intake.review(intake.drafts(ALICE)).trained] == [0, 1, 2]
