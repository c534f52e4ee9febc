"""A corpus of masks as people make them: each is understood as the contract says, or refused in words."""

import io

import numpy as np
import pytest
from PIL import Image

from segapp.imaging import Refused, decode, masks
from segapp.imaging.decode import MaskSource
from segapp.tests.imaging.drawing import SIZE, photo, saved, shapes, truth

BLACK, RED, GREEN, WHITE = (0, 0, 0), (230, 20, 20), (20, 180, 60), (255, 255, 255)


def palette_mask(*, transparent: bool = False) -> io.BytesIO:
    image = Image.fromarray(truth(3))
    image.putpalette([90, 90, 90, 250, 10, 10, 10, 250, 10])
    return saved(image, transparency=0) if transparent else saved(image)


def deep(values: list[int]) -> io.BytesIO:
    return saved(Image.fromarray(np.array(values, dtype=np.uint16)[truth(len(values))]))


def clear(colors) -> io.BytesIO:
    """RGBA with a transparent background."""
    rgb = np.asarray(shapes(colors, "RGB"))
    alpha = np.where(truth(len(colors)) == 0, 0, 255).astype(np.uint8)
    return saved(Image.fromarray(np.dstack([rgb, alpha])))


# name, file, ids that are trained, ids of (background, disc, box), whether soft edges were snapped
UNDERSTOOD = [
    ("index 0 and 1", saved(shapes([0, 1])), [0, 1], [0, 1], False),
    ("0 and 255", saved(shapes([0, 255])), [0, 1], [0, 1], False),
    ("0 and 200", saved(shapes([0, 200])), [0, 1], [0, 1], False),
    ("0 and 100 keeps its number", saved(shapes([0, 100])), [0, 100], [0, 100], False),
    ("1 bit", saved(shapes([0, 1]).point(lambda v: 255 * v).convert("1")), [0, 1], [0, 1], False),
    ("index 0, 1, 2", saved(shapes([0, 1, 2])), [0, 1, 2], [0, 1, 2], False),
    ("gaps keep their numbers", saved(shapes([0, 7, 23])), [0, 7, 23], [0, 7, 23], False),
    ("no zero", saved(shapes([3, 4, 9])), [3, 4, 9], [3, 4, 9], False),
    ("255 beside others is ignored", saved(shapes([0, 1, 255])), [0, 1], [0, 1, 255], False),
    ("palette", palette_mask(), [0, 1, 2], [0, 1, 2], False),
    ("palette with a transparent entry", palette_mask(transparent=True), [0, 1, 2], [0, 1, 2], False),
    ("16 bits, small values", deep([0, 1, 2]), [0, 1, 2], [0, 1, 2], False),
    ("16 bits, 0 and 65535", deep([0, 65535]), [0, 1], [0, 1], False),
    ("16 bits, large values are numbered on", deep([0, 300, 4000]), [0, 1, 2], [0, 1, 2], False),
    ("colours", saved(shapes([BLACK, RED, GREEN], "RGB")), [0, 1, 2], [0, 2, 1], False),
    ("colours without black", saved(shapes([WHITE, RED, GREEN], "RGB")), [0, 1, 2], [2, 1, 0], False),
    ("black and white as colours", saved(shapes([BLACK, WHITE], "RGB")), [0, 1], [0, 1], False),
    ("RGBA, opaque", saved(shapes([BLACK, RED], "RGB").convert("RGBA")), [0, 1], [0, 1], False),
    ("RGBA, transparent is ignored", clear([BLACK, RED, GREEN]), [0, 1], [255, 1, 0], False),
    ("grey with alpha", saved(shapes([0, 255]).convert("LA")), [0, 1], [0, 1], False),
    ("JPEG 0 and 255", saved(shapes([0, 255]), "JPEG", quality=80), [0, 1], [0, 1], True),
    ("JPEG three greys", saved(shapes([0, 120, 240]), "JPEG", quality=85), [0, 120, 240], [0, 120, 240], True),
    ("JPEG colours", saved(shapes([BLACK, RED, GREEN], "RGB"), "JPEG", quality=85), [0, 1, 2], [0, 2, 1], True),
    ("anti-aliased 0 and 255", saved(shapes([0, 255], soft=True)), [0, 1], [0, 1], True),
    ("anti-aliased three greys", saved(shapes([0, 80, 200], soft=True)), [0, 80, 200], [0, 80, 200], True),
    ("anti-aliased colours", saved(shapes([BLACK, RED, GREEN], "RGB", soft=True)), [0, 1, 2], [0, 2, 1], True),
    ("lossless WebP", saved(shapes([BLACK, RED], "RGB"), "WEBP", lossless=True), [0, 1], [0, 1], False),
    ("all background", saved(Image.new("L", (SIZE, SIZE))), [0], [0], False),
]


@pytest.mark.parametrize(
    ("file", "trained", "ids", "snapped"), [r[1:] for r in UNDERSTOOD], ids=[r[0] for r in UNDERSTOOD]
)
def test_a_mask_is_understood(file, trained, ids, snapped):
    file.seek(0)
    source = decode.mask(file, "mask")
    reading = masks.read([source])
    assert [row["id"] for row in reading.trained] == trained
    assert reading.snapped is snapped
    found = masks.apply(source, reading)
    meant = np.array(ids, dtype=np.uint8)[truth(len(ids)) if len(ids) > 1 else np.zeros((SIZE, SIZE), int)]
    assert found.dtype == np.uint8
    assert set(np.unique(found)) == set(np.unique(meant)), "no phantom classes"
    assert (found == meant).mean() > (0.97 if snapped else 0.9999)


REFUSED = [
    ("a photo as PNG", saved(photo())),
    ("a photo as JPEG", saved(photo(), "JPEG")),
    ("a grey photo", saved(photo(mode="L"))),
    ("a grey photo as JPEG", saved(photo(mode="L"), "JPEG")),
    (
        "more than 64 values",
        saved(Image.fromarray(np.repeat(np.arange(80, dtype=np.uint8), 4).reshape(1, -1).repeat(320, 0))),
    ),
    ("noise", saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96), dtype=np.uint8)))),
]


@pytest.mark.parametrize("file", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_photo_is_no_mask(file):
    file.seek(0)
    with pytest.raises(Refused, match="photo"):
        masks.read([decode.mask(file, "mask")])


def test_zero_one_and_zero_255_give_the_same_classes():
    first, second = (masks.read([decode.mask(saved(shapes([0, top])), "m")]) for top in (1, 255))
    assert [(row["id"], row["name"], row["color"]) for row in first.classes] == [
        (row["id"], row["name"], row["color"]) for row in second.classes
    ]


def test_the_rule_is_decided_over_the_whole_set():
    """255 alone with 0 would be a class; one other mask with a 1 makes it "ignore" everywhere."""
    binary, labelled = (decode.mask(saved(shapes(colors)), "m") for colors in ([0, 255], [0, 1]))
    reading = masks.read([binary, labelled])
    assert [row["id"] for row in reading.trained] == [0, 1]
    assert 255 in masks.apply(binary, reading)
    assert any("255" in rule for rule in reading.rules)


def test_large_16_bit_values_skip_the_ignore_id():
    source = MaskSource("index", np.array([[0, 253, 254, 1000]], dtype=np.uint16))
    reading = masks.read([source])
    assert 255 not in {row["id"] for row in reading.trained}


def test_255_becomes_a_class_when_the_visitor_says_so():
    source = decode.mask(saved(shapes([0, 1, 255])), "m")
    reading = masks.edit(masks.read([source]), [{"id": 255, "ignore": False, "name": "box"}])
    assert [(row["id"], row["name"]) for row in reading.trained][-1] == (2, "box")
    assert set(np.unique(masks.apply(source, reading))) == {0, 1, 2}


def test_an_ignored_class_teaches_nothing():
    source = decode.mask(saved(shapes([0, 1, 2])), "m")
    reading = masks.edit(masks.read([source]), [{"id": 2, "ignore": True}])
    assert [row["id"] for row in reading.trained] == [0, 1]
    assert set(np.unique(masks.apply(source, reading))) == {0, 1, 255}


def test_edits_that_do_not_fit_are_refused():
    reading = masks.read([decode.mask(saved(shapes([0, 1])), "m")])
    for wrong in ([{"id": 9}], [{"id": 1, "color": "red"}], [{"id": 0, "ignore": True}, {"id": 1, "ignore": True}]):
        with pytest.raises(Refused):
            masks.edit(reading, wrong)


def test_a_reading_survives_the_database():
    source = decode.mask(saved(shapes([BLACK, RED, GREEN], "RGB", soft=True)), "m")
    reading = masks.read([source])
    again = masks.Reading.from_dict(reading.to_dict())
    assert np.array_equal(masks.apply(source, again), masks.apply(source, reading))


def test_thin_true_classes_are_not_taken_for_blur():
    """One-pixel lines fill no place, as blur does; a clean index mask keeps them."""
    ids = np.zeros((SIZE, SIZE), dtype=np.uint8)
    ids[40:60] = 200
    for k, value in enumerate((1, 2, 3, 4)):
        ids[:, 10 + 20 * k] = value
    reading = masks.read([MaskSource("index", ids)])
    assert [row["id"] for row in reading.trained] == [0, 1, 2, 3, 4, 200]


def test_warnings_name_what_is_rare_empty_or_alone():
    empty = decode.mask(saved(Image.new("L", (SIZE, SIZE))), "m")
    dot = np.zeros((SIZE, SIZE), dtype=np.uint8)
    dot[0, 0] = 1
    words = " ".join(masks.read([empty, MaskSource("index", dot)]).warnings)
    assert "one picture only" in words and "background only" in words and "%" in words
    assert "nothing to tell apart" in " ".join(masks.read([empty]).warnings)
