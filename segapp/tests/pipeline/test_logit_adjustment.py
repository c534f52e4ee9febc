"""Logit adjustment: fitted where masks say only which class is absent, zero where the predictions are right."""

import numpy as np
import torch

from registry.network import build
from segapp.pipeline.base.datasets import Labels
from segapp.pipeline.base.logit_adjustment import MIN_PIXELS, adjust_logits, count, fit_offsets
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.training.augment import Pair
from segapp.tests.pipeline.conftest import disc

NOT_CAT = 3  # the code that excludes class 2
ALLOWED = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=bool)


def cats(eager: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a cat (class 2) and of a ground whose probability is spread over the other two."""
    chance = np.random.default_rng(0)
    codes = np.repeat(np.array([2, NOT_CAT], np.uint8), 500)
    logits = chance.normal(0, 0.3, (1000, 3)).astype(np.float32)
    logits[:500, 2] += 3 + eager
    logits[500:, 2] += eager
    return logits, codes


def iou(sample: tuple[np.ndarray, np.ndarray], offsets: np.ndarray) -> float:
    right, missed, wrong = count(sample[1], (sample[0] + offsets).argmax(axis=1), ALLOWED)[:, 2]
    return float(right / (right + missed + wrong))


def test_a_class_that_wins_too_easily_is_held_back():
    sample = cats(eager=1.0)
    offsets = fit_offsets([sample], ALLOWED)
    assert offsets[2] - offsets[:2].max() < -0.5
    assert iou(sample, np.zeros(3)) < 0.6 < 0.95 < iou(sample, offsets)


def test_classes_that_are_right_stay_as_they_are():
    sure = cats(eager=0.0)[0]
    sure[:500, 2] += 10
    sure[500:, 0] += 10
    assert not fit_offsets([(sure, cats(0.0)[1])], ALLOWED).any()


def test_a_class_that_no_mask_shows_is_not_held_back():
    offsets = fit_offsets([cats(eager=1.0)], ALLOWED)
    assert not offsets[:2].any()


def test_a_handful_of_pixels_moves_nothing():
    logits, codes = cats(eager=1.0)
    few = slice(500 - MIN_PIXELS // 2, 500 + MIN_PIXELS // 2)
    assert not fit_offsets([(logits[few], codes[few])], ALLOWED).any()


def test_only_excluded_classes_count_as_wrong():
    codes = np.array([0, 1, 2, NOT_CAT, NOT_CAT, NOT_CAT, IGNORE], np.uint8)
    found = np.array([0, 2, 2, 0, 1, 2, 2])
    assert count(codes, found, ALLOWED).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 2]]


def test_the_offsets_are_in_the_heads_bias(base):
    network = build(base.spec).eval()
    example = disc(0)
    labels = Labels(base.spec.classes, np.eye(len(base.spec.classes), dtype=bool), ())
    codes = (example.mask != 0).astype(np.uint8)
    with torch.no_grad():
        network.segmentation_head[0].weight.zero_()
        network.segmentation_head[0].bias[1] = 1.5  # it calls everything a disc, but barely
    before = network.segmentation_head[0].bias.detach().clone()
    offsets = adjust_logits(base.spec, network, [[Pair(example.image, codes)], []], labels, seed=0)
    assert list(offsets) == [c.name for c in base.spec.classes]
    added = network.segmentation_head[0].bias.detach() - before
    assert torch.allclose(added, torch.tensor(list(offsets.values())))
    assert any(offsets.values())
