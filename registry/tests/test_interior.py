"""The head beside the class head: what its spec says, and what its network gives."""

import dataclasses

import pytest
import torch

from registry.decoding import logits_from
from registry.interior import InteriorHead, interior_head
from registry.network import build, has_interior
from registry.tests.conftest import spec_of

LITE = "efficientnet_lite0"


def test_the_head_answers_between_0_and_1_at_its_features_size():
    found = InteriorHead(6, 4)(torch.randn(2, 6, 12, 20))
    assert found.shape == (2, 1, 12, 20) and 0 < found.min() <= found.max() < 1


def test_a_head_is_built_again_from_its_options_and_a_later_layout_is_refused():
    head = InteriorHead(6, 4)
    again = interior_head(head.options())
    again.load_state_dict(head.state_dict(), strict=True)
    features = torch.randn(1, 6, 8, 8)
    with torch.inference_mode():
        assert torch.equal(again(features), head(features))
    with pytest.raises(ValueError, match="layout 9"):
        interior_head({**head.options(), "layout": 9})


def test_the_map_has_the_logits_size_and_changes_no_logit():
    torch.manual_seed(0)
    options = {"layout": 1, "channels": 32 + 24, "hidden": 8}
    network = build(dataclasses.replace(spec_of(LITE), interior=options)).eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        features = list(network.encoder(image)[-4:])
        logits, found = logits_from(network, features, image, interior=True)
        assert torch.equal(logits, network(image)) and found.shape == (1, 1, 64, 96)
        assert logits_from(network, features, image)[1] is None
    assert has_interior(network) and not has_interior(build(spec_of(LITE)))
