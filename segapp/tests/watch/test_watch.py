"""A watched folder in this process: what is made of what arrives, and what becomes of what cannot be used."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image

from registry.runtime import Runtime
from segapp.imaging.image_input import ImageInput
from segapp.imaging.object_options import ObjectOptions
from segapp.tests.imaging.drawing import photo
from segapp.tests.planting import plant
from segapp.tests.video.videos import write_video
from segapp.worker import networks, watch
from segapp.worker.watch import Ended, Order, Watch

ALICE, CHARLIE = "a" * 32, "c" * 32
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path, monkeypatch):
    settings.MEDIA_ROOT = tmp_path / "media"
    runtime = Runtime(settings.MEDIA_ROOT, settings.SEGAPP_WEIGHTS, "cpu", 1 << 30)
    monkeypatch.setattr(networks, "runtime", lambda: runtime)


@pytest.fixture
def model():
    return plant(ALICE, "discs", 1)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def watching(folder, tmp_path, model):
    opened = []

    def watching(**values) -> Watch:
        while opened:
            opened.pop().journal.close()
        order = Order(model.public_id, "", ObjectOptions(things=(1,)), ImageInput(), **values)
        opened.append(Watch(folder, tmp_path / "out", order, 0))
        return opened[0]

    yield watching
    while opened:
        opened.pop().journal.close()


def turn(one: Watch) -> dict[str, str]:
    """Files of one turn, each with what was wrong with it."""
    told: list[watch.Outcome] = []
    one.turn(told.append)
    return {outcome.file: outcome.problem for outcome in told}


def files(folder) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith(".watch/"))


def rows(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_masks_tables_and_polygons_are_written_once(watching, folder, tmp_path):
    (folder / "run").mkdir()
    for name in ("a.png", "run/b.jpg"):
        photo(64).save(folder / name)
    one = watching()
    assert turn(one) == {"a.png": "", "run/b.jpg": ""}
    assert turn(one) == {}
    out = tmp_path / "out"
    made = ["classes.csv", "masks/a.png", "masks/run/b.png", "objects/a.csv", "objects/run/b.csv"]
    assert files(out) == [*made, "polygons/a.geojson", "polygons/run/b.geojson"]
    assert set(np.unique(np.asarray(Image.open(out / "masks" / "a.png")))) == {1}
    (found,) = rows(out / "objects" / "a.csv")
    assert (found["class_id"], found["area_px"]) == ("1", "4096")
    assert len(json.loads((out / "polygons" / "run" / "b.geojson").read_text())["features"]) == 1
    table = rows(out / "classes.csv")
    assert [(row["file"], row["mask"]) for row in table if row["id"] == "1"] == [
        ("a.png", "masks/a.png"),
        ("run/b.jpg", "masks/run/b.png"),
    ]
    assert files(folder) == ["a.png", "run/b.jpg"], "inputs stay where they are"
    photo(64).save(folder / "c.png")
    assert turn(watching()) == {"c.png": ""}, "another process goes on where the first one was"
    assert len(rows(out / "classes.csv")) == 3 * len(table) // 2


def test_a_file_with_new_content_is_segmented_again_and_counted_once(watching, folder, tmp_path):
    photo(64).save(folder / "a.png")
    one = watching()
    turn(one)
    photo(96).save(folder / "a.png")
    assert turn(one) == {"a.png": ""}
    assert Image.open(tmp_path / "out" / "masks" / "a.png").size == (96, 96)
    assert [row["pixels"] for row in rows(tmp_path / "out" / "classes.csv") if row["id"] == "1"] == ["9216"]


def test_what_cannot_be_used_is_put_aside_with_the_reason_and_the_next_step(watching, folder, tmp_path):
    (folder / "run").mkdir()
    (folder / "run" / "bad.png").write_bytes(b"no image")
    photo(64).save(folder / "good.png")
    one = watching()
    problems = turn(one)
    assert problems["good.png"] == "" and problems["run/bad.png"]
    failed = tmp_path / "out" / "failed" / "run"
    assert (failed / "bad.png").read_bytes() == b"no image" and not (folder / "run" / "bad.png").exists()
    text = (failed / "bad.png.txt").read_text()
    assert problems["run/bad.png"] in text and "Put a corrected file into the watched folder" in text
    (folder / "run" / "bad.png").write_bytes(b"no image")
    assert turn(one).keys() == {"run/bad.png"}
    assert files(failed) == ["bad.png", "bad.png.txt", "bad_2.png", "bad_2.png.txt"]


def test_a_file_that_cannot_be_moved_stays_and_is_not_tried_again(watching, folder, tmp_path, monkeypatch):
    (folder / "bad.png").write_bytes(b"no image")
    one = watching()

    def refused(self, source, target):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Watch, "_move", refused)
        assert turn(one).keys() == {"bad.png"}
    assert turn(one) == {} and turn(watching()) == {}
    assert "is left where it was" in (tmp_path / "out" / "failed" / "bad.png.txt").read_text()


def test_a_file_that_is_written_to_while_it_is_read_is_taken_later(watching, folder, tmp_path, monkeypatch):
    photo(64).save(folder / "a.png")
    one, really = watching(), watch.segment_image

    def while_it_changes(network, file, *more, **named):
        found = really(network, file, *more, **named)
        photo(80).save(file)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(watch, "segment_image", while_it_changes)
        assert turn(one) == {} and files(tmp_path / "out") == []
    assert turn(one) == {"a.png": ""}
    assert Image.open(tmp_path / "out" / "masks" / "a.png").size == (80, 80)


def test_finished_files_are_moved_where_that_is_asked_for(watching, folder, tmp_path):
    photo(64).save(folder / "a.png")
    turn(watching())
    assert turn(watching(move=True)) == {}, "one that was done before it could be moved"
    photo(64).save(folder / "b.png")
    turn(watching(move=True))
    assert files(folder) == [] and files(tmp_path / "out" / "done") == ["a.png", "b.png"]


def test_videos_are_segmented_too(watching, folder, tmp_path):
    write_video(folder / "clip.mp4", frames=6)
    assert turn(watching()) == {"clip.mp4": ""}
    assert files(tmp_path / "out" / "videos") == ["clip.csv", "clip_mask.mp4", "clip_overlay.mp4"]
    assert rows(tmp_path / "out" / "classes.csv")[0]["mask"] == "videos/clip_mask.mp4"


def test_when_the_model_is_gone_nothing_is_put_aside(watching, folder, tmp_path, model):
    photo(64).save(folder / "a.png")
    one = watching()
    one.check()
    model.delete()
    with pytest.raises(ValueError, match="There is no model"):
        turn(one)
    assert files(folder) == ["a.png"] and files(tmp_path / "out") == []


def test_a_model_of_somebody_else_is_refused(folder, tmp_path, model):
    one = Watch(folder, tmp_path / "out", Order(model.public_id, CHARLIE, None, ImageInput()), 0)
    with pytest.raises(ValueError, match="of the visitor"):
        one.check()
    one.journal.close()
    own = Watch(folder, tmp_path / "out", Order("", ALICE, None, ImageInput()), 0)
    photo(64).save(folder / "a.png")
    assert turn(own) == {"a.png": ""}
    assert set(np.unique(np.asarray(Image.open(tmp_path / "out" / "masks" / "a.png")))) == {1}, "her active model"
    assert files(tmp_path / "out") == ["classes.csv", "masks/a.png"]
    own.journal.close()


def test_a_full_disk_is_not_the_files_fault(watching, folder, tmp_path, monkeypatch):
    photo(64).save(folder / "a.png")
    one = watching()

    def full(*sent, **named):
        raise OSError(28, "No space left on device", str(tmp_path / "out" / "x"))

    said = []

    def wait(seconds):
        patched.undo()
        if len(said) == 1 and (tmp_path / "out" / "masks").exists():
            raise Ended

    patched = monkeypatch
    patched.setattr(watch, "segment_image", full)
    really = watch.time.sleep
    watch.time.sleep = wait
    try:
        with pytest.raises(Ended):
            one.forever(lambda outcome: None, said.append, 0)
    finally:
        watch.time.sleep = really
    assert "Free some space" in said[0] and files(folder) == ["a.png"]
    assert files(tmp_path / "out" / "masks") == ["a.png"]


def test_a_file_that_ends_the_process_again_and_again_is_put_aside(watching, folder, tmp_path, monkeypatch):
    photo(64).save(folder / "deadly.png")
    photo(64).save(folder / "fine.png")
    os.utime(folder / "deadly.png", (1, 1))
    arrivals = watching().arrivals
    arrivals.settled(lambda *_: True)
    (deadly, _) = arrivals.settled(lambda *_: True)
    for _ in range(watch.MAX_ATTEMPTS):  # what a killed process leaves behind
        one = watching()
        one.journal.write(watch.BEGUN, deadly)
    problems = turn(watching())
    assert "ended 5 times" in problems["deadly.png"] and problems["fine.png"] == ""


def test_asked_to_end_it_leaves_the_file_for_the_next_time(watching, folder, tmp_path, monkeypatch):
    photo(64).save(folder / "a.png")
    one = watching()

    def asked(*sent, **named):
        raise Ended

    with monkeypatch.context() as patched:
        patched.setattr(watch, "segment_image", asked)
        for _ in range(watch.MAX_ATTEMPTS + 1):
            with pytest.raises(Ended):
                turn(one)
    assert turn(watching()) == {"a.png": ""}


def test_results_never_go_into_the_watched_folder_itself(folder):
    with pytest.raises(ValueError, match="Name another folder"):
        Watch(folder, folder, Order("", "", None, ImageInput()), 0)
    with pytest.raises(NotADirectoryError, match="Name the folder"):
        Watch(folder / "none", folder / "out", Order("", "", None, ImageInput()), 0)
