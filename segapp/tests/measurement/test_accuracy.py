"""Found objects against true ones: matched by overlap, never across classes."""

import numpy as np
import pytest

from segapp.measurement.accuracy import Agreement, compare, means
from segapp.measurement.objects import Objects, Settings, find
from segapp.tests.measurement.drawing import disc


def squares(*places: tuple[int, int], side: int = 10, classes: tuple[int, ...] = ()) -> Objects:
    labels = np.zeros((60, 60), np.int32)
    for number, (top, left) in enumerate(places, 1):
        labels[top : top + side, left : left + side] = number
    return Objects(labels, np.array(classes or (1,) * len(places), np.uint8))


def test_the_same_objects_in_another_order_match_all():
    assert compare(squares((0, 0), (20, 20)), squares((20, 20), (0, 0))) == Agreement(2, 2, 2)


def test_half_an_object_is_no_match_and_a_little_more_is_one():
    truth = squares((0, 0))
    assert compare(truth, squares((0, 0), side=7)).matched == 0, "49 of 100 pixels"
    assert compare(truth, squares((0, 0), side=8)).matched == 1
    assert compare(truth, squares((0, 3))).matched == 1 and compare(truth, squares((0, 4))).matched == 0


def test_objects_of_different_classes_do_not_match():
    assert compare(squares((0, 0), classes=(1,)), squares((0, 0), classes=(2,))) == Agreement(1, 1, 0)


def test_two_that_were_not_split_are_one_miss_more_than_found():
    mask = np.zeros((60, 90), np.uint8)
    disc(mask, 30, 30, 16)
    one = find(mask, Settings((1,)))
    disc(mask, 60, 30, 16)
    truth = find(mask, Settings((1,), split=0.65))
    joined = find(mask, Settings((1,)))
    assert (one.count, truth.count, joined.count) == (1, 2, 1)
    agreement = compare(truth, joined)
    assert agreement.matched <= 1 and agreement.miscounted == 1 and agreement.count_error == 0.5


def test_figures_are_means_over_images():
    found = means([Agreement(4, 4, 4), Agreement(4, 2, 2), Agreement(0, 0, 0)])
    assert found["ap50"] == pytest.approx((1 + 0.5 + 1) / 3) and found["f1"] == pytest.approx((1 + 4 / 6 + 1) / 3)
    assert found["count_error"] == pytest.approx(0.5 / 3) and found["miscounted"] == pytest.approx(2 / 3)
    assert Agreement(0, 3, 0).precision == 0.0 and Agreement(0, 3, 0).count_error == 3.0
