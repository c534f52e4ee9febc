"""Figures as people read them, and the points of the curves."""

import pytest

from segapp.templatetags import formatting


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (95, "1 min 35 s"), (4000, "1 h 6 min"), (7200, "2 h")],
)
def test_durations(seconds, text):
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(("percent", "text"), [(0, "0.0 %"), (0.04, "< 0.1 %"), (12.345, "12.3 %"), (None, "")])
def test_a_small_share_is_not_rounded_to_nothing(percent, text):
    assert formatting.share(percent) == text


@pytest.mark.parametrize(("value", "text"), [(None, ""), (12.4, "12 ms"), (740, "0.74 s"), (4061, "4.06 s")])
def test_milliseconds(value, text):
    assert formatting.milliseconds(value) == text


def test_a_curve_grows_from_the_left_up_to_the_progress():
    assert formatting.curve([]) == ""
    assert formatting.curve([2.0, 1.0], 0.5) == "0.00,0.00 50.00,50.00"
    assert formatting.curve([[0.25, 0.5], [1.0, 0.75]], 1.0, 1.0) == "25.00,50.00 100.00,25.00"
    assert formatting.curve([0.0, 0.0], 1.0) == "0.00,100.00 100.00,100.00", "no division by a highest value of zero"


def test_one_score_is_a_dot():
    assert formatting.dots([[0.5, 0.75]], 0.5, 1.0) == "M50.00 25.00h0"


def test_the_newest_entry_of_numbers_and_of_pairs():
    assert formatting.last_of([]) is None
    assert formatting.last_of([0.9, 0.4]) == 0.4
    assert formatting.last_of([[0.5, 0.7]]) == 0.7
