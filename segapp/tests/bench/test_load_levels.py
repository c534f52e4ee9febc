"""How `bench load` looks for the largest number of visitors, and what it counts of a level."""

import pytest

from segapp.bench.load_levels import ANALYZE, PAGE, REFUSED, Act, figures, largest_held, next_level


def searched(limit: int, most: int = 400) -> tuple[int, list[int]]:
    """What the search finds where up to `limit` visitors are held, and the numbers it tried."""
    held: dict[int, bool] = {}
    while (level := next_level(held, most)) is not None:
        assert level not in held
        held[level] = level <= limit
    return largest_held(held), list(held)


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 4, 5, 17, 40, 63, 64, 100, 399])
def test_the_largest_number_held_is_found_to_an_eighth_in_few_steps(limit):
    found, tried = searched(limit)
    assert found <= limit <= found + max(1, found // 8)
    assert len(tried) <= 12


def test_it_doubles_then_halves_what_lies_between():
    assert searched(20) == (20, [4, 8, 16, 32, 24, 20, 22])


def test_no_more_are_tried_than_there_are():
    assert searched(1000, most=10) == (10, [4, 8, 10])
    assert searched(1000, most=1) == (1, [1])


def test_a_number_that_is_held_above_one_that_is_not_does_not_count():
    assert largest_held({4: True, 8: False, 16: True}) == 4


def level(*acts: Act) -> dict:
    return figures(3, acts, [10.0, 12.0, 19.9, 20.0], since=10.0, until=20.0)


def test_an_act_counts_where_it_began_and_requests_where_they_were_sent():
    row = level(Act(PAGE, 9.9, 5.0), Act(PAGE, 10.0, 0.5), Act(ANALYZE, 19.9, 2.5), Act(ANALYZE, 20.0, 9.0))
    assert (row["pages"], row["page_p95_ms"], row["analyzes"], row["analyze_p95_ms"]) == (1, 500.0, 1, 2500.0)
    assert row["requests_per_second"] == 0.3 and row["held"]


@pytest.mark.parametrize(
    "late",
    [
        Act(PAGE, 11, 1.1),
        Act(ANALYZE, 11, 3.1),
        Act(PAGE, 11, 0.1, REFUSED),
        Act(ANALYZE, 11, 0.1, "500 POST /analyze/"),
    ],
)
def test_one_that_is_late_refused_or_failed_is_one_too_many(late):
    good = [Act(PAGE, 11, 0.9), Act(ANALYZE, 11, 2.9)]
    assert level(*good)["held"]
    assert not level(*good, late)["held"]


def test_refused_and_failed_acts_are_counted_apart_and_have_no_latency():
    row = level(Act(PAGE, 11, 0.2), Act(PAGE, 11, 0.01, REFUSED), Act(PAGE, 11, 60.0, "TimeoutError"))
    assert (row["pages"], row["page_p95_ms"], row["refused"], row["errors"]) == (1, 200.0, 1, 1)
    assert row["errors_by_kind"] == {"TimeoutError": 1}
    assert row["analyze_p95_ms"] is None and not row["held"], "nothing is known of Analyze"


def test_p95_is_of_a_hundred_the_ninety_fifth():
    row = level(*(Act(PAGE, 11, n / 100) for n in range(1, 101)))
    assert (row["page_p50_ms"], row["page_p95_ms"]) == (500.0, 950.0)
