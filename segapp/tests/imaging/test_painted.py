"""Painted masks beside uploaded ones: their ids are what was painted, whatever the rules make of files."""

import io

import numpy as np
import pytest

from segapp.imaging import InvalidFile, class_mapping, decode, denoise, painted
from segapp.imaging.decode import MaskSource
from segapp.imaging.painted import PAINTED, UNPAINTED
from segapp.imaging.values import Mask, Summary
from segapp.tests.imaging.drawing import photo, saved, shapes, truth

NAMED = [{"id": 0, "name": "ground", "color": "#111111"}, {"id": 1, "name": "leaf", "color": "#00ff00"}]


def drawn(values: np.ndarray, unpainted: int = UNPAINTED) -> Mask:
    mask = painted.as_mask(values, unpainted)
    return Mask(mask.codes, painted.summary(painted.counts(values), unpainted))


def source(*values: int) -> MaskSource:
    """An uploaded index mask with these values in equal stripes."""
    return MaskSource("index", np.repeat(np.array(values, np.uint8), 16)[None].repeat(16, axis=0))


def settle(image) -> Summary:
    """What an uploaded mask file holds."""
    return denoise.read(decode.mask(saved(image), "m"), "m").summary


def colours(*values: str) -> MaskSource:
    rows = [[int(value[k : k + 2], 16) for k in (0, 2, 4)] + [255] for value in values]
    return MaskSource("colour", np.repeat(np.array(rows, np.uint8), 16, axis=0)[None].repeat(16, axis=0))


def read(*given, known=NAMED) -> class_mapping.ClassMapping:
    summaries = [one.summary if isinstance(one, Mask) else denoise.read(one, "m").summary for one in given]
    return class_mapping.read_summaries(summaries, known=known)


def test_what_is_not_painted_is_no_class_and_no_row():
    values = np.zeros((8, 8), np.uint8)
    values[4:] = UNPAINTED
    reading = read(drawn(values))
    assert [(row["id"], row["ignore"]) for row in reading.classes] == [(0, False)]
    assert "the unpainted pixels (50 %) are unknown" in reading.rules[-1]
    assert (class_mapping.apply(painted.as_mask(values, UNPAINTED), reading) == values).all()


def test_unpainted_stays_unknown_beside_uploaded_masks_whose_255_is_taken_in_as_a_class():
    """The two are stored as the same number, and only the uploaded one says something about its pixels."""
    values = np.full((16, 16), UNPAINTED, np.uint8)
    values[0, :8], values[1, :8] = 0, 1
    given = [source(0, 1, 255), drawn(values)]
    summaries = [one.summary if isinstance(one, Mask) else denoise.read(one, "m").summary for one in given]
    reading = class_mapping.read_summaries(summaries, known=NAMED, edits={"255": {"ignore": False, "name": "sky"}})
    assert [row["name"] for row in reading.trained] == ["ground", "leaf", "sky"]
    assert (class_mapping.apply(painted.as_mask(values, UNPAINTED), reading) == values).all()
    assert not reading.mostly_ignored and not any("is it the background" in warning for warning in reading.warnings)
    assert {row["name"]: row["images"] for row in reading.classes} == {"ground": 2, "leaf": 2, "sky": 1}


def test_scribbles_are_not_warned_about_as_if_the_rest_were_background():
    values = np.full((200, 200), UNPAINTED, np.uint8)
    values[0, :20] = 0
    other = values.copy()
    other[1, :3] = 1
    reading = class_mapping.read_summaries([drawn(values).summary, drawn(other).summary], ["one", "two"], known=NAMED)
    words = " ".join([*reading.warnings, *reading.hints])
    assert "background only" not in words and "is ground only" not in words and "of the pixels only" not in words
    only = read(drawn(values))
    assert only.warnings == ["Only “ground” is painted, so there is nothing to tell apart. Paint a second class too."]
    with pytest.raises(InvalidFile, match="Paint strokes of a second class"):
        class_mapping.hold_trainable(only)


def test_a_class_number_over_127_stays_what_it_is():
    values = np.full((8, 8), 200, np.uint8)
    values[0] = 0
    reading = read(drawn(values), known=[])
    assert [row["id"] for row in reading.classes] == [0, 200]


def test_unpainted_pixels_count_as_the_chosen_class():
    values = np.full((8, 8), UNPAINTED, np.uint8)
    values[0] = 1
    reading = read(drawn(values, unpainted=0))
    assert [(row["id"], row["share"]) for row in reading.classes] == [(0, 87.5), (1, 12.5)]
    assert (class_mapping.apply(painted.as_mask(values, 0), reading) == np.where(values == 1, 1, 0)).all()


def test_names_and_colours_chosen_while_painting_arrive():
    reading = read(drawn(truth()))
    assert reading.trained == NAMED
    assert any("painted here" in rule for rule in reading.rules)


@pytest.mark.parametrize("top", [255, 1, 200])
def test_uploaded_two_class_masks_and_painted_ones_are_one_set(top):
    reading = class_mapping.read_summaries([settle(shapes([0, top])), drawn(truth()).summary], known=NAMED)
    assert reading.trained == NAMED, "both hold the same two classes"
    assert {row["images"] for row in reading.classes} == {2}


def test_a_painted_class_keeps_the_uploaded_colour_it_was_made_from():
    """Red became class 1 and was painted on; a blue that comes later must not push it to 2."""
    known = [
        {"id": 0, "name": "ground", "color": "#000000", "source": "#000000"},
        {"id": 1, "name": "car", "color": "#ff0000", "source": "#ff0000"},
    ]
    reading = read(colours("000000", "0000ff", "ff0000"), drawn(truth()), known=known)
    assert {row["source"]: row["id"] for row in reading.classes} == {"#000000": 0, "#ff0000": 1, "#0000ff": 3}
    assert {reading.ids[0xFF0000], reading.ids[PAINTED + 1]} == {1}


def test_the_rule_for_uploaded_masks_alone_is_as_before():
    assert [row["id"] for row in read(source(0, 7, 255), known=[]).classes] == [0, 7, 255]


def test_more_than_64_classes_are_refused_together():
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    with pytest.raises(InvalidFile):
        read(drawn(values + 100), source(0, 1, 2), known=[])


def test_a_sent_mask_must_be_a_grey_png_of_the_images_size():
    good = np.asarray(shapes([0, 1]))
    assert (painted.decode(saved(shapes([0, 1])), (96, 96), "one") == good).all()
    for bad in (saved(shapes([0, 1]), "JPEG"), saved(photo(96)), saved(shapes([0, 1]).convert("P")), io.BytesIO(b"x")):
        with pytest.raises(InvalidFile):
            painted.decode(bad, (96, 96), "one")
    with pytest.raises(InvalidFile, match="96 × 96 pixels, its image 96 × 95"):
        painted.decode(saved(shapes([0, 1])), (96, 95), "one")


def test_an_added_set_keeps_the_ids_of_the_earlier_one_and_brings_its_new_classes():
    earlier = class_mapping.read_summaries([settle(shapes([0, 255]))])
    values = np.where(truth() == 1, 3, 0).astype(np.uint8)
    added = read(drawn(values), known=[*NAMED, {"id": 3, "name": "stem", "color": "#0000ff"}])
    joined = class_mapping.extended(earlier, added, (96 * 96, 96 * 96), 2)
    assert [(row["id"], row["name"]) for row in joined.trained] == [(0, "ground"), (1, "object"), (3, "stem")]
    assert joined.ids[255] == 1 and joined.ids[PAINTED + 3] == 3
    assert sum(row["share"] for row in joined.classes) == pytest.approx(100, abs=0.01)
