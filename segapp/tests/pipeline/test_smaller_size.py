"""The input size for images smaller than the base's."""

from dataclasses import replace

import numpy as np
import pytest

from segapp.bench.datasets import draw
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.training.metrics import channels
from segapp.pipeline.training.smaller_size import smaller_input_size
from segapp.tests.pipeline.conftest import SIDE, disc
from segapp.worker import networks


def size_for(base, examples, ids):
    """What is chosen, and how many times the run was told that it goes on."""
    ticks = []
    masks = [channels(e.mask, ids) for e in examples]
    images = [e.image for e in examples]
    return smaller_input_size(base, images, masks, len(ids), 0, lambda: ticks.append(1)), len(ticks)


@pytest.mark.parametrize(("seed", "expected"), [(2, 256), pytest.param(0, 384, marks=pytest.mark.slow)])
def test_small_cells_are_not_enlarged_to_the_full_size(data, seed, expected):
    drawn = draw(data / "unseen" / "blood_cells_wbc", seed, 1)
    with networks.runtime().use_base(networks.server_base()) as base:
        found, _ = size_for(base, drawn.train, [c.id for c in drawn.classes])
    assert found is not None
    size, gain = found
    assert size == expected
    assert gain > 0.04


@pytest.mark.slow
def test_small_nuclei_stay_enlarged(data):
    drawn = draw(data / "nuclei_dsb2018", 0, 1)
    with networks.runtime().use_base(networks.server_base()) as base:
        found, ticks = size_for(base, drawn.train, [c.id for c in drawn.classes])
    assert found is None
    assert ticks == 3 * (5 + 5)


def test_nothing_is_tried_for_large_images_one_image_or_strokes(base, discs):
    assert size_for(base, discs, [0, 3]) == (None, 0)  # as large as the base's input
    base = replace(base, spec=replace(base.spec, input_size=256))
    small = [disc(number) for number in range(3)]
    assert size_for(base, small, [0, 3])[1] > 0
    assert size_for(base, small[:1], [0, 3]) == (None, 0)
    for example in small:
        example.mask[np.arange(SIDE) % 4 > 0] = IGNORE
    assert size_for(base, small, [0, 3]) == (None, 0)
