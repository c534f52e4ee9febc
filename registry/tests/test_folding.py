"""Folded convolutions give what the network's own give, forward and backward, and leave the network as it is."""

import copy

import pytest
import torch
from torch import nn

from registry.decoding import coarse_logits, full_logits
from registry.folding import Depthwise, Fixed, FoldedShallow, folded_shallow, folded_stage
from registry.network import Network, build
from registry.stages import deepest_stage, run_stage
from registry.tests.conftest import spec_of

LITE, MIT = "efficientnet_lite0", "mit_b0"


def network_of(key: str) -> Network:
    """A network whose normalisation has statistics as training leaves them."""
    torch.manual_seed(0)
    network = build(spec_of(key)).eval().to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return network


def images_of(side: int = 64) -> torch.Tensor:
    return torch.randn(2, 3, side, side + 32).contiguous(memory_format=torch.channels_last)


def near(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("side", [64, 70, 61])  # even at every stride, at the first one only, at none
@pytest.mark.parametrize("clips", [True, False])
def test_the_folded_shallow_part_gives_the_same_features(clips, side):
    encoder, images = network_of(LITE).encoder, images_of(side)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    folded = folded_shallow(encoder, "k")
    assert isinstance(folded, FoldedShallow)
    for module in folded.modules():
        if isinstance(module, Fixed):
            module.clips = module.clips and clips
    with torch.no_grad():
        found, wanted = folded(images), encoder(images)[-4:-1]
    assert len(found) == 3 and all(near(*pair) for pair in zip(found, wanted, strict=True))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert (
        0 < folded.bytes < sum(tensor.numel() * 4 for tensor in before.values()) / 4
    )  # the deepest stage is not in it
    after = encoder.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_an_encoder_without_such_blocks_is_left_alone():
    encoder = network_of(MIT).encoder
    stage = list(deepest_stage(encoder).values())
    assert folded_shallow(encoder, "k") is None
    assert all(one is other for one, other in zip(folded_stage(stage), stage, strict=True))


def test_gradients_reach_the_parameters_of_the_folded_stage():
    encoder = network_of(LITE).encoder
    stage = list(deepest_stage(encoder).values())
    features = torch.randn(2, 112, 8, 10).contiguous(memory_format=torch.channels_last)
    found = []
    for modules in (stage, folded_stage(stage)):
        encoder.zero_grad()
        features.requires_grad_(True).grad = None
        out = run_stage(modules, features)
        out.square().mean().backward()
        gradients = {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}
        found.append((out.detach(), features.grad.clone(), gradients))
    (plain, before, wanted), (folded, also, gradients) = found
    assert near(folded, plain) and near(also, before)
    assert gradients.keys() == wanted.keys() and len(wanted) > 30
    assert all(near(gradients[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(5, 1, 2), (5, 2, 0), (7, 1, 3), (3, 2, 1), (4, 3, 1)])
def test_depthwise_gradients(kernel, stride, padding):
    torch.manual_seed(0)
    made = []
    inputs = torch.randn(2, 6, 13, 16), torch.randn(6, 1, kernel, kernel), torch.randn(6)
    for form in (torch.conv2d, Depthwise.apply):
        x, weight, bias = (one.clone().requires_grad_(True) for one in inputs)
        step, pad = (stride, stride), (padding, padding)
        rest = (step, pad, 1, 6) if form is torch.conv2d else (step, pad)
        out = form(x, weight, bias, *rest)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        made.append((out.detach(), x.grad, weight.grad, bias.grad))
    assert all(near(*pair) for pair in zip(*made, strict=True))


@pytest.mark.parametrize("policy", ["cat", "add"])
@pytest.mark.parametrize("training", [False, True])
def test_logits_are_those_of_decoder_and_head(policy, training):
    spec = spec_of(LITE)
    spec.decoder["decoder_merge_policy"] = policy
    torch.manual_seed(0)
    network = build(spec).eval()
    network.decoder.train(training)
    shapes = zip(network.encoder.out_channels[-4:], (24, 12, 6, 3), strict=True)
    features = [torch.randn(2, channels, side, side + side // 3) for channels, side in shapes]
    made = []
    for form in (
        lambda: network.segmentation_head(network.decoder(list(features))),
        lambda: full_logits(network, features),
    ):
        network.zero_grad()
        torch.manual_seed(3)  # of dropout
        out = form()
        out.square().mean().backward()
        gradients = {name: copy.copy(p.grad) for name, p in network.named_parameters() if p.grad is not None}
        made.append((out.detach(), gradients, torch.rand(1)))
    (wanted, before, drawn), (found, after, also) = made
    assert near(found, wanted) and torch.equal(drawn, also)
    assert after.keys() == before.keys() and all(near(after[name], before[name]) for name in before)
    assert coarse_logits(network, features).shape[-2:] == features[0].shape[-2:]
