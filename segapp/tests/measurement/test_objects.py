"""Masks become numbered objects, and touching ones come apart."""

import numpy as np
import pytest

from segapp.imaging.object_options import DROP
from segapp.measurement import objects
from segapp.measurement.objects import Settings, TooManyObjects, find
from segapp.tests.measurement.drawing import disc, tricky


def test_objects_are_numbered_without_gaps_in_reading_order():
    found = find(tricky(), Settings((1, 2)))
    assert list(np.unique(found.labels)) == list(range(found.count + 1))
    first = [int(np.flatnonzero(found.labels.ravel() == n)[0]) for n in range(1, found.count + 1)]
    assert first == sorted(first)


def test_each_object_has_the_class_of_its_pixels():
    mask = tricky()
    found = find(mask, Settings((1, 2)))
    for number in range(1, found.count + 1):
        assert set(np.unique(mask[found.labels == number])) == {found.class_ids[number - 1]}


def test_pixels_that_touch_by_a_corner_are_one_object():
    assert find(np.eye(9, dtype=np.uint8), Settings((1,))).count == 1


def test_class_id_0_can_be_counted():
    mask = np.ones((9, 9), np.uint8)
    mask[1:3, 1:3] = mask[5:7, 5:7] = 0
    assert find(mask, Settings((0,))).count == 2


def test_small_ones_and_those_cut_by_the_edge_are_left_out_when_asked():
    mask = tricky()
    everything = find(mask, Settings((1, 2)))
    assert find(mask, Settings((1, 2), min_area=3)).count == everything.count - 2
    assert find(mask, Settings((1, 2), edges=DROP)).count == everything.count - 1


def test_holes_are_filled_when_asked_and_never_over_another_class():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:18, 2:18], mask[5:8, 5:8], mask[12, 12] = 1, 0, 2
    found = find(mask, Settings((1,), fill_holes=True))
    assert (found.labels > 0).sum() == 16 * 16 and found.count == 1
    both = find(mask, Settings((1, 2), fill_holes=True))
    assert both.labels[12, 12] == 2 and (both.labels == 1).sum() == 16 * 16 - 1


@pytest.mark.parametrize("strength", [0.5, 0.7, 0.9])
def test_two_discs_that_touch_become_two_of_about_their_size(strength):
    mask = np.zeros((80, 120), np.uint8)
    disc(mask, 40, 40, 20)
    disc(mask, 78, 40, 20)
    found = find(mask, Settings((1,), split=strength))
    assert found.count == 2
    assert np.bincount(found.labels.ravel())[1:] == pytest.approx(np.pi * 400, rel=0.03)


def test_a_stronger_split_never_gives_fewer_objects():
    rng = np.random.default_rng(3)
    mask = np.zeros((300, 300), np.uint8)
    for _ in range(60):
        disc(mask, rng.uniform(0, 300), rng.uniform(0, 300), rng.uniform(6, 18))
    counts = [find(mask, Settings((1,), split=s / 10)).count for s in range(11)]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    assert counts[0] == find(mask, Settings((1,))).count


def test_one_disc_stays_one_at_every_strength():
    mask = np.zeros((90, 90), np.uint8)
    disc(mask, 45, 45, 30)
    assert find(mask, Settings((1,), split=1.0)).count == 1


def test_splitting_keeps_every_pixel():
    mask = np.zeros((80, 120), np.uint8)
    disc(mask, 40, 40, 20)
    disc(mask, 70, 40, 25, value=2)
    found = find(mask, Settings((1, 2), split=1.0))
    assert ((found.labels > 0) == (mask > 0)).all()


def test_a_models_own_map_splits_where_the_shape_says_nothing():
    mask = np.zeros((40, 80), np.uint8)
    mask[10:30, 10:70] = 1
    columns = np.arange(80)
    distance = np.tile(np.maximum(0, 1 - abs(columns - np.where(columns < 40, 25, 55)) / 15), (40, 1))
    found = find(mask, Settings((1,), split=0.5), distance.astype(np.float32))
    assert found.count == 2 and (found.labels[20, 12], found.labels[20, 66]) == (1, 2)


def test_deleting_and_merging_number_afresh():
    found = find(tricky(), Settings((1, 2)))
    fewer = objects.without(found, [1])
    assert fewer.count == found.count - 1 and not (fewer.labels[found.labels == 1]).any()
    joined = objects.merged(found, [1, 3])
    assert joined.count == found.count - 1
    assert set(np.unique(joined.labels[(found.labels == 1) | (found.labels == 3)])) == {1}
    assert joined.labels.max() == joined.count


def test_an_empty_mask_has_no_objects():
    assert find(np.zeros((5, 7), np.uint8), Settings((1,), split=0.5)).count == 0


def test_more_objects_than_16_bits_hold_are_refused_in_words():
    mask = np.zeros((600, 600), np.uint8)
    mask[::2, ::2] = 1
    with pytest.raises(TooManyObjects, match="minimum area"):
        find(mask, Settings((1,)))


def test_a_part_without_a_middle_by_the_learnt_map_is_no_object():
    mask = np.zeros((40, 80), np.uint8)
    mask[5:25, 5:25] = mask[30:34, 60:64] = 1
    inside = np.where(mask, 0.2, 0.0).astype(np.float32)
    inside[15, 15] = 0.9
    assert find(mask, Settings((1,), split=0.65), inside).count == 1
    assert find(mask, Settings((1,)), inside).count == find(mask, Settings((1,), split=0.65)).count == 2
