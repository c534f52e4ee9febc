"""Whether a base knows a subject, from its own answers."""

import numpy as np
import pytest

from segapp.pipeline.training.knowledge import KNOWN, knowledge


def scene(seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Channels of a base with five classes, and a truth whose classes 0 and 1 are the base's 3 and 1, but for noise."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((40, 60)) < 0.3).astype(np.uint8)
    predicted = np.where(truth == 1, 1, 3).astype(np.uint8)
    wrong = rng.random(truth.shape) < noise
    predicted[wrong] = rng.integers(0, 5, int(wrong.sum()))
    return predicted, truth


def of(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    return knowledge([p for p, _ in pairs], [t for _, t in pairs], 5, 2)


def test_a_base_whose_classes_cover_the_visitors_under_other_names_knows_the_subject():
    assert of([scene(seed, 0.0) for seed in range(3)]) == 1.0
    assert of([scene(seed, 0.2) for seed in range(3)]) > KNOWN


def test_a_base_that_guesses_does_not():
    assert of([scene(seed, 1.0) for seed in range(3)]) == pytest.approx(0.0, abs=0.05)


def test_what_holds_for_one_example_only_is_no_knowledge():
    """Each example would be explained by a name that the other one contradicts."""
    predicted, truth = scene(0, 0.0)
    assert of([(predicted, truth), (predicted, 1 - truth)]) < 0.0


def test_a_single_example_is_looked_at_in_halves_and_ignored_pixels_do_not_count():
    predicted, truth = scene(0, 0.0)
    assert of([(predicted, truth)]) == 1.0
    predicted[:, ::7], truth[:, ::7] = 4, 255
    assert of([(predicted, truth)]) == 1.0
    assert of([(predicted, np.full_like(truth, 255))]) == 0.0
