"""However a network is built, it gives its logits at the same places."""

import pytest
import torch

from registry.network import build
from registry.tests.conftest import spec_of


@pytest.mark.parametrize("way", ["whole", "around an encoder", "like another"])
def test_places_of_the_logits_lie_in_the_middle_of_their_pixels(way):
    spec = spec_of("efficientnet_lite0")
    network = build(spec)
    if way != "whole":
        network = build(spec, network.encoder, like=network if way == "like another" else None)
    enlarged = network.segmentation_head[1](torch.arange(8.0).expand(1, 1, 8, 8))[0, 0, 0]
    middles = enlarged.unfold(0, 4, 4)[:, 1:3].mean(dim=1)
    assert torch.allclose(middles[1:-1], torch.arange(1.0, 7.0))
