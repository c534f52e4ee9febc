"""Encoders cut before their deepest stage."""

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from registry.stages import deepest_stage, is_deep, run_stage


@pytest.mark.parametrize("name", ["mit_b0", "tu-tf_efficientnet_lite0", "tu-tf_efficientnet_lite2"])
def test_the_deepest_stage_makes_stride_32_of_stride_16(name):
    encoder = smp.encoders.get_encoder(name, weights=None).eval()
    stage = deepest_stage(encoder)
    with torch.inference_mode():
        *_, shallow, deep = encoder(torch.rand(1, 3, 64, 96))
        assert torch.equal(run_stage(stage.values(), shallow), deep)
    inside = [key for key, _ in encoder.named_parameters() if is_deep(f"encoder.{key}", stage)]
    assert 0 < len(inside) < len(list(encoder.parameters()))


def test_an_encoder_that_does_not_say_where_it_can_be_cut_has_no_deepest_stage():
    assert deepest_stage(nn.Conv2d(3, 8, 3)) == {}
    assert not is_deep("encoder.blocks.10.weight", ["blocks.1"])
