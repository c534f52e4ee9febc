"""Large images and their masks made smaller for a training."""

import numpy as np

from segapp.worker.training_examples import MAX_SIDE, shrink


def test_a_thin_stroke_in_an_unknown_mask_survives():
    side = 5 * MAX_SIDE
    image, mask = np.zeros((side, 64, 3), np.uint8), np.full((side, 64), 255, np.uint8)
    mask[:, 1] = 3  # one pixel wide: every fifth pixel alone would miss it
    small, ids = shrink(image, mask)
    assert small.shape[:2] == ids.shape == (MAX_SIDE, 13)
    assert (ids[:, 0] == 3).all() and (ids[:, 1:] == 255).all()


def test_a_whole_mask_is_sampled_as_it_is():
    side = 2 * MAX_SIDE
    mask = np.zeros((side, 8), np.uint8)
    mask[: side // 2] = 7
    mask[side // 2 :: 2] = 255
    _, ids = shrink(np.zeros((side, 8, 3), np.uint8), mask)
    assert set(np.unique(ids)) <= {0, 7, 255} and (ids[: MAX_SIDE // 2] == 7).all()
