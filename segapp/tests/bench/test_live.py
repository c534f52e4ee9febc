"""Strokes by one protocol, and the ways that answer them, on tiny images."""

import numpy as np
import pytest

from segapp.bench import live_quality, region_clicks
from segapp.bench.scribbles import LENGTH, scribbled
from segapp.pipeline.training.metrics import channels
from segapp.tests.pipeline.conftest import base, disc_set, one_thread  # noqa: F401


def masks() -> list[np.ndarray]:
    """Two masks: two squares of class 1 on class 0, and one of class 2."""
    one, two = np.zeros((120, 160), np.uint8), np.zeros((90, 90), np.uint8)
    one[10:60, 10:60] = 1
    one[70:74, 100:104] = 1
    two[20:70, 20:70] = 2
    return [one, two]


@pytest.mark.parametrize("strokes", [1, 3, 30])
def test_strokes_lie_in_their_class_and_all_else_is_unknown(strokes):
    found = scribbled(masks(), [0, 1, 2], strokes, seed=0)
    for own, truth in zip(found, masks(), strict=True):
        assert own.shape == truth.shape and (own[own != 255] == truth[own != 255]).all()
    painted = np.bincount(np.concatenate([own.ravel() for own in found]), minlength=256)
    assert (painted[:3] > 0).all() and painted[:255].sum() <= 3 * strokes * 3 * (LENGTH + 2) * 1.5


def test_a_stroke_is_three_pixels_wide_and_at_most_forty_long():
    whole = [np.zeros((400, 400), np.uint8)]
    for seed in range(5):
        (own,) = scribbled(whole, [0], 1, seed)
        rows, columns = np.nonzero(own == 0)
        assert 3 * LENGTH * 0.7 < len(rows) <= 9 * LENGTH
        assert np.hypot(np.ptp(rows), np.ptp(columns)) <= LENGTH + 3


def test_more_strokes_begin_with_fewer_and_the_seed_decides():
    three, ten = (scribbled(masks(), [0, 1, 2], n, seed=4) for n in (3, 10))
    assert all((ten[k][three[k] != 255] == three[k][three[k] != 255]).all() for k in range(2))
    again, other = scribbled(masks(), [0, 1, 2], 3, seed=4), scribbled(masks(), [0, 1, 2], 3, seed=5)
    assert all((again[k] == three[k]).all() for k in range(2))
    assert any((other[k] != three[k]).any() for k in range(2))


def test_large_parts_get_more_strokes_than_small_ones():
    (one, _) = scribbled(masks(), [1], 10, seed=0)
    assert (one[10:60, 10:60] == 1).any() and (one[70:74, 100:104] == 1).sum() <= 16


def test_a_class_without_pixels_gets_no_strokes():
    found = scribbled(masks(), [7], 3, seed=0)
    assert all((own == 255).all() for own in found)


@pytest.mark.slow
def test_ways_are_scored_and_finished_rows_taken_as_they_are(base, tmp_path):  # noqa: F811
    folder = disc_set(tmp_path / "discs", 8)
    seen: list[dict] = []
    rows = live_quality.measure(base, [folder], seeds=[0], tests=3, ways=("live", "forest"), report=seen.append)
    assert rows == seen and [row["strokes"] for row in rows] == [3, 10, 30] * 2
    assert all(row["miou"] > 0.8 for row in rows if row["strokes"] == 30), "red discs on grey are easy"
    earlier = [{**row, "miou": 0.5} for row in rows]
    again = live_quality.measure(base, [folder], seeds=[0], tests=3, ways=("live", "forest"), earlier=earlier)
    assert again == earlier
    table = live_quality.summary(rows)
    assert [(row["set"], row["strokes"]) for row in table] == [("discs", 3), ("discs", 10), ("discs", 30)]
    assert table[2]["live"] == rows[2]["miou"] and table[2]["trained"] is None


def test_clicks_go_where_the_answer_is_most_wrong_until_the_object_is_found(base, tmp_path):  # noqa: F811
    rows = region_clicks.measure(base, [disc_set(tmp_path / "discs", 8)], tests=3)
    assert [(row["set"], row["way"], row["objects"]) for row in rows] == [("discs", "grown", 3), ("discs", "walked", 3)]
    assert all(1 <= row["clicks_80"] <= row["clicks_90"] <= 15 and row["iou_5"] > 0.8 for row in rows)
    assert [row["way"] for row in region_clicks.summary(rows)] == ["grown", "walked"]


@pytest.mark.slow
def test_a_training_on_strokes_stands_beside_one_on_whole_masks(base, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(live_quality, "STROKES", (3,))
    folder = disc_set(tmp_path / "discs", 7)
    rows = live_quality.measure(base, [folder], seeds=[0], tests=2, ways=("trained", "whole"))
    assert [(row["way"], row["strokes"]) for row in rows] == [("trained", 3), ("whole", 0)]
    assert all(row["miou"] > 0.7 for row in rows)


def test_unknown_pixels_are_nobodys():
    mask = np.array([[0, 255, 3]], np.uint8)
    assert channels(mask, [0, 3]).tolist() == [[0, 255, 1]]
