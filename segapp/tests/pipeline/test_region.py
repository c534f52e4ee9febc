"""A region from clicks, on a graph of squares of four colours."""

import numpy as np
import pytest
import torch

from segapp.pipeline.inference.live import ImageFeatures
from segapp.pipeline.inference.region import Clicks, clicked, grown, region_graph, region_mask, walked

SIDE = 64


@pytest.fixture(scope="module")
def graph():
    """Features that tell nothing beside the colours: a bright square in a dark image, another one far from it."""
    image = np.random.default_rng(0).integers(20, 40, (SIDE, SIDE, 3)).astype(np.uint8)
    image[8:28, 8:28] += 160
    image[40:56, 40:56] += 160
    small = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    features = ImageFeatures(small[:, :, ::2, ::2].half(), small.half(), (SIDE, SIDE), torch.zeros(3), torch.ones(3))
    return region_graph(features, image)


def share(graph, chosen: np.ndarray, rows: slice, columns: slice) -> float:
    return float(region_mask(graph, chosen, (SIDE, SIDE))[rows, columns].mean())


@pytest.mark.parametrize("way", [walked, grown])
def test_one_click_takes_what_is_like_it_and_connected(graph, way):
    chosen = way(graph, clicked(graph, [(18 / SIDE, 18 / SIDE, True)]))
    assert share(graph, chosen, slice(10, 26), slice(10, 26)) > 0.95
    assert share(graph, chosen, slice(30, 38), slice(0, SIDE)) < 0.05
    assert share(graph, chosen, slice(42, 54), slice(42, 54)) == 0, "alike, but apart"


@pytest.mark.parametrize("way", [walked, grown])
def test_further_clicks_add_and_take_away(graph, way):
    both = [(18 / SIDE, 18 / SIDE, True), (48 / SIDE, 48 / SIDE, True)]
    chosen = way(graph, clicked(graph, [*both, (34 / SIDE, 34 / SIDE, False)]))
    assert share(graph, chosen, slice(42, 54), slice(42, 54)) > 0.95
    without = way(graph, clicked(graph, [both[0], (48 / SIDE, 48 / SIDE, False)]))
    assert share(graph, without, slice(42, 54), slice(42, 54)) < 0.05


def test_of_two_clicks_on_one_place_the_last_counts(graph):
    assert clicked(graph, [(0.5, 0.5, True), (0.5, 0.5, False)]) == Clicks([], [int(graph.labels[32, 32])])


def test_a_mask_larger_than_the_graph_has_the_region_at_its_place(graph):
    chosen = walked(graph, clicked(graph, [(18 / SIDE, 18 / SIDE, True)]))
    mask = region_mask(graph, chosen, (SIDE * 3, SIDE * 3))
    assert mask.shape == (SIDE * 3, SIDE * 3) and mask[54, 54] == 1 and mask[144, 144] == 0
