"""`manage.py segment` on folders and zips, with a zip and a table as the server's batches give them."""

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from segapp.tests.batch.sending import BROKEN, image, packed

pytestmark = pytest.mark.django_db


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    files = {"a.png": image(1), "b/a.jpg": image(2, 90, 60, "JPEG"), "b/broken.png": BROKEN, ".hidden/c.png": b""}
    for name, content in {**files, "notes.txt": b"hello"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def segment(*arguments: object) -> list[dict]:
    out = io.StringIO()
    call_command("segment", *map(str, arguments), "--json", stdout=out)
    return json.loads(out.getvalue())


def test_a_folder_becomes_masks_a_zip_and_a_table(photos, tmp_path, capsys):
    archive, table = tmp_path / "out.zip", tmp_path / "out.csv"
    found = segment(photos, "--out", tmp_path / "masks", "--zip", archive, "--csv", table)
    assert [Path(one["mask"]).name for one in found] == ["a.png", "a_2.png"]
    with zipfile.ZipFile(archive) as opened:
        names = ["classes.csv", "left_out.csv", "masks/a.png", "masks/a_2.png", "overlays/a.jpg", "overlays/a_2.jpg"]
        assert opened.namelist() == names
        assert opened.read("masks/a.png") == Path(found[0]["mask"]).read_bytes()
        assert Image.open(io.BytesIO(opened.read("overlays/a_2.jpg"))).size == (90, 60)
        assert opened.read("classes.csv") == table.read_bytes()
        (left,) = csv.DictReader(io.StringIO(opened.read("left_out.csv").decode()))
    assert left["file"].endswith("broken.png")
    assert "broken.png" in capsys.readouterr().err
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(rows) == sum(len(one["classes"]) for one in found)
    assert {row["model_key"] for row in rows} == {found[0]["model_key"]}
    assert sum(int(row["pixels"]) for row in rows if row["mask"] == "masks/a_2.png") == 90 * 60


def test_a_zip_gives_the_same_masks_as_the_files_alone(photos, tmp_path):
    upload = packed({"x/a.png": image(1), "__MACOSX/._a.png": b"x", "notes.txt": b"hello"})
    (tmp_path / "in.zip").write_bytes(upload.read())
    (zipped,) = segment(tmp_path / "in.zip", "--out", tmp_path / "one")
    (alone,) = segment(photos / "a.png", "--out", tmp_path / "two")
    assert np.array_equal(np.asarray(Image.open(zipped["mask"])), np.asarray(Image.open(alone["mask"])))


def test_a_single_bad_file_still_ends_with_one_line(photos, tmp_path):
    with pytest.raises(CommandError, match=r"broken\.png: This is no PNG"):
        segment(photos / "b" / "broken.png", "--out", tmp_path / "masks")


def test_what_is_not_there_or_empty_is_said_before_anything_is_made(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandError, match="There is no file"):
        segment(tmp_path / "nowhere.png", "--out", tmp_path / "masks")
    with pytest.raises(CommandError, match="There is no image in it"):
        segment(tmp_path / "empty", "--out", tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


def test_no_image_is_overwritten_by_a_mask(tmp_path):
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).write_bytes(image(1))
    for named in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(CommandError, match=r"would overwrite a file that you named"):
            segment(named, "--out", tmp_path)
    assert (tmp_path / "a.png").read_bytes() == image(1)
