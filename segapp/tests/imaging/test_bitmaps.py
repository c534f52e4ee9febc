"""Bitmaps of annotation files: decoded together, in a process that they may damage, and each judged by itself."""

import base64
import io
import struct

import numpy as np
import pytest
from PIL import Image

from segapp.imaging import bitmaps, forked
from segapp.imaging.annotations import labelme


def png(values: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG", **options)
    return out.getvalue()


def drawn(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < 0.5


def with_size(content: bytes, width: int, height: int) -> bytes:
    return content[:16] + struct.pack(">II", width, height) + content[24:]


def test_each_comes_back_as_it_was_drawn():
    masks = [drawn(k, 3 + k, 40 - k) for k in range(30)]
    files = [png(mask.astype(np.uint8) * (255 if k % 2 else 1)) for k, mask in enumerate(masks)]
    files[3] = png(masks[3])  # one bit
    found = bitmaps.decode(files, "a.json")
    assert all(one is not None and np.array_equal(one, mask) for one, mask in zip(found, masks, strict=True))


def test_what_is_no_png_is_damaged_or_says_too_many_pixels_is_left_out_alone():
    good = png(drawn(0, 9, 9))
    jpeg = io.BytesIO()
    Image.new("L", (9, 9)).save(jpeg, "JPEG")
    bad = [
        b"",
        b"<svg/>",
        jpeg.getvalue(),
        good[:30],
        good[: len(good) // 2 + 10],
        with_size(good, 60_000, 60_000),
        good[:20],
    ]
    found = bitmaps.decode([good, *bad, good], "a.json")
    assert [one is None for one in found] == [False, *[True] * len(bad), False]
    assert np.array_equal(found[0], drawn(0, 9, 9)) and np.array_equal(found[-1], found[0])


def test_no_bitmap_asks_no_process(monkeypatch):
    monkeypatch.setattr(forked, "read", None)
    assert bitmaps.decode([], "a.json") == [] and bitmaps.decode([b"x"], "a.json") == [None]


def test_many_pixels_are_decoded_by_several_processes(monkeypatch):
    monkeypatch.setattr(bitmaps, "MAX_PIXELS", 100)
    asked, plain = [], forked.read
    monkeypatch.setattr(forked, "read", lambda *order: asked.append(order[4]) or plain(*order))
    masks = [drawn(k, 6, 8) for k in range(5)]
    found = bitmaps.decode([png(mask) for mask in masks], "a.json")
    assert all(np.array_equal(one, mask) for one, mask in zip(found, masks, strict=True))
    assert len(asked) == 3  # 96, 96 and 48 pixels


def test_a_row_whose_points_are_no_points_does_not_take_the_next_ones_bitmap():
    first, second = drawn(1, 4, 5), drawn(2, 4, 5)
    rows = [
        {"label": "a", "shape_type": "mask", "points": [], "mask": base64.b64encode(png(first)).decode()},
        {
            "label": "b",
            "shape_type": "mask",
            "points": [[1, 2], [5, 5]],
            "mask": base64.b64encode(png(second)).decode(),
        },
        {"label": "c", "shape_type": "mask", "points": [[1, 2], [5, 5]], "mask": "?"},
    ]
    parsed = labelme.parse({"shapes": rows, "imagePath": "a.png", "imageWidth": 9, "imageHeight": 9}, "a.json")
    (image,) = parsed.images
    assert [shape.label for shape in image.shapes] == ["b"] and np.array_equal(image.shapes[0].bitmap, second)


@pytest.fixture
def decoder_that_dies(monkeypatch):
    """The process that decodes ends at the first bitmap."""
    forked.stop()
    died = (
        "import os; from segapp.imaging.readers import fork_server, pillow;"
        "pillow._bitmap = lambda content: os._exit(1); fork_server.main()"
    )
    monkeypatch.setattr(forked, "COMMAND", [forked.COMMAND[0], "-c", died])
    yield
    forked.stop()


@pytest.mark.usefixtures("decoder_that_dies")
def test_those_that_end_the_process_are_damaged():
    assert bitmaps.decode([png(drawn(0, 9, 9))] * 3, "a.json") == [None] * 3
