"""Pairs come in: all or nothing, by stem, under the server's names."""

import io
import zipfile

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from segapp.models import Example
from segapp.services import intake
from segapp.services.intake import Refusal
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
    with pytest.raises(Refusal) as refusal:
        call()
    return {problem["file"]: problem["message"] for problem in refusal.value.problems}


def test_pairs_are_stored_and_read_back():
    stored = intake.store(ALICE, images("a.jpg", "b.png"), masks("b.png", "a.png"))
    assert [example.stem for example in stored] == ["a", "b"]
    reading = intake.review(stored)
    assert np.array_equal(intake.ids_of(stored[0], reading), truth())
    assert intake.picture_of(stored[0]).shape == (96, 96, 3)


def test_files_without_a_partner_are_all_listed():
    found = problems(lambda: intake.store(ALICE, images("a.png", "b.png"), masks("b.png", "c.png")))
    assert found.keys() == {"a.png", "c.png"}


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.png", "a.jpg"), ("Cat.png", "cat.png"), ("caf\u00e9.png", "cafe\u0301.png")],
    ids=["ending", "case", "Unicode form"],
)
def test_the_same_stem_twice_is_a_collision(first, second):
    assert problems(lambda: intake.store(ALICE, images(first, second), masks(first)))
    assert problems(lambda: intake.store(ALICE, images(first), masks(first, second)))


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.png", "..\\win.png", "x" * 300 + ".png", "\U0001f63a.png", "<b>.png"]
)
def test_names_are_never_paths(name, tmp_path):
    (stored,) = intake.store(ALICE, images(name), masks(name))
    assert "/" not in stored.stem and len(stored.stem) <= 200
    assert stored.image_path.is_relative_to(tmp_path / "examples")


def test_a_mask_named_after_its_picture_is_found():
    assert len(intake.store(ALICE, images("a.png"), masks("a_mask.png"))) == 1


def test_fifty_one_pairs_are_too_many():
    names = [f"{k}.png" for k in range(51)]
    assert "50" in problems(lambda: intake.store(ALICE, images(*names), masks(*names)))[""]


def test_a_full_storage_is_said_before_anything_is_written(settings):
    settings.SEGAPP_STORAGE_BYTES = 100
    assert "full" in problems(lambda: intake.store(ALICE, images("a.png"), masks("a.png")))[""]


def test_a_disk_that_fills_up_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(intake, "_store_pair", _full_after_one(intake._store_pair))
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
    picture, mask = saved(photo(96)).getvalue(), saved(shapes([0, 1])).getvalue()
    files = {"set/images/a.png": picture, "set/masks/a.png": mask, "__MACOSX/._a.png": b"x", "set/readme.txt": b"hello"}
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
