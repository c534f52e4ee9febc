"""What the client makes of paths and arrays before anything is sent."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from segapp_client import Objects
from segapp_client._uploads import LazyFile, many, one, pairs


def values(upload) -> np.ndarray:
    with upload.open() as file:
        return np.asarray(Image.open(io.BytesIO(file.read())))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_masks_keep_their_values(dtype):
    mask = np.arange(12, dtype=dtype).reshape(3, 4) * (1 if dtype != np.uint16 else 1000)
    assert np.array_equal(values(one("masks", mask, mask=True)), mask)


def test_booleans_are_classes_in_masks_and_black_and_white_in_images():
    drawn = np.array([[True, False]])
    assert values(one("masks", drawn, mask=True)).tolist() == [[1, 0]]
    assert values(one("images", drawn)).tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((4, 4)), "no known range"),
        (np.zeros((4, 4, 2), np.uint8), "is not an image"),
        (np.zeros((0, 4), np.uint8), "is not an image"),
        (np.full((4, 4), -1), "do not fit"),
        (np.full((4, 4), 70000), "do not fit"),
        (np.zeros((4, 4, 3), np.uint16), "Colour images of 16 bits"),
    ],
)
def test_what_cannot_be_sent_is_refused_here(array, why):
    with pytest.raises(ValueError, match=why):
        one("images", array)


def test_arrays_are_paired_by_order_and_files_by_name(tmp_path):
    grey = np.zeros((4, 4), np.uint8)
    Image.fromarray(grey).save(tmp_path / "leaf.png")
    sent = [(upload.field, upload.name) for upload in pairs([tmp_path / "leaf.png", grey], [grey, grey])]
    assert sent == [("images", "001_leaf.png"), ("masks", "001_leaf.png"), ("images", "002.png"), ("masks", "002.png")]
    (tmp_path / ".DS_Store").touch()
    assert [upload.name for upload in pairs(tmp_path, [tmp_path / "leaf.png"])] == ["leaf.png", "leaf.png"]
    with pytest.raises(ValueError, match="2 images and 1 masks"):
        pairs([grey, grey], [grey])
    with pytest.raises(TypeError, match="as a list"):
        pairs(grey, [grey])


def test_five_hundred_files_are_not_open_at_once(tmp_path):
    for number in range(500):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    opened = [upload.open() for upload in many("files", tmp_path)]
    assert len(list(Path("/proc/self/fd").iterdir())) - before < 5
    assert b"".join(file.read() for file in opened) == b"x" * 500
    assert len(list(Path("/proc/self/fd").iterdir())) - before < 5


def test_a_lazy_file_reads_in_pieces_and_again(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    file = LazyFile(tmp_path / "a")
    assert file.seek(0, io.SEEK_END) == 100 and file.seek(0) == 0
    assert b"".join(iter(lambda: file.read(30), b"")) == bytes(range(100))
    file.seek(98)
    assert file.read(30) == bytes([98, 99])


def test_the_table_of_objects_becomes_rows_with_numbers():
    rows = Objects.read("object,class_id,class,area_px,area_um2\n1,1,leaf,30,12.5\n2,2,7,4,\n3,1,leaf,9,3.75\n")
    assert rows[0] == {"object": 1, "class_id": 1, "class": "leaf", "area_px": 30, "area_um2": 12.5}
    assert rows[1]["class"] == "7" and rows[1]["area_um2"] is None
    assert rows.counts == {1: 2, 2: 1}
    assert Objects.read("") == []
