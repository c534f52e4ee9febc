"""Normalisation and ReLU in one give what the modules give, forward and backward."""

import pytest
import torch
from torch import nn

from registry.group_norm import NormalisedReLU, normalised_relu

FORMATS = [torch.channels_last, torch.contiguous_format]


def norm_of(groups: int, channels: int) -> nn.GroupNorm:
    torch.manual_seed(0)
    norm = nn.GroupNorm(groups, channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def taken(x: torch.Tensor, norm: nn.GroupNorm, own: bool) -> list[torch.Tensor]:
    """What comes out, and the gradients of input, weight and bias."""
    x = x.detach().requires_grad_(True)
    norm.zero_grad()
    out = normalised_relu(x, norm, nn.ReLU(inplace=True)) if own else torch.relu(norm(x))
    (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    assert x.grad is not None and norm.weight.grad is not None and norm.bias.grad is not None
    return [out.detach(), x.grad, norm.weight.grad.clone(), norm.bias.grad.clone()]


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("shift", [0.0, 10.0])  # far from 0, where sums of squares lose digits
@pytest.mark.parametrize("shape", [(2, 8, 7, 9), (1, 8, 2, 3)])
def test_the_gradients_are_the_modules_own(layout, shift, shape):
    x = (torch.randn(shape) + shift).contiguous(memory_format=layout)
    kept, norm = x.clone(), norm_of(8, 8)
    found, wanted = taken(x, norm, own=True), taken(x, norm, own=False)
    assert torch.equal(found[0], wanted[0]) and torch.equal(x, kept)
    for one, other in zip(found[1:], wanted[1:], strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_gradients_by_finite_differences():
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight, bias = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(NormalisedReLU.apply, (x, weight, bias, 1e-5))


def test_what_is_no_single_channel_or_not_learnt_is_left_to_the_modules():
    x = torch.randn(2, 8, 4, 4, requires_grad=True)
    relu = nn.ReLU(inplace=True)
    assert "NormalisedReLU" in type(normalised_relu(x, norm_of(8, 8), relu).grad_fn).__name__
    for norm, act in ((norm_of(4, 8), relu), (norm_of(8, 8), nn.ReLU6()), (nn.Identity(), relu)):
        found = normalised_relu(x * 1.0, norm, act)
        assert "NormalisedReLU" not in type(found.grad_fn).__name__
        assert torch.equal(found, act(norm(x * 1.0)))
    with torch.no_grad():
        assert normalised_relu(x, norm_of(8, 8), relu).grad_fn is None
