"""What the detail branch's fixed filters see."""

import pytest
import torch

from registry.detail import CHANNELS, LEVELS, DetailBranch, detail_branch, filter_bank, filtered

FIRST = 3  # features of the finest level begin behind the image's own colours
EACH = 7


def seen(image: torch.Tensor) -> torch.Tensor:
    return filtered(image, filter_bank())


def test_a_plain_image_has_colours_and_no_structure_up_to_its_edges():
    found = seen(torch.tensor([0.5, -0.25, 1.0]).view(1, 3, 1, 1).expand(1, 3, 64, 96))
    assert found.shape == (1, CHANNELS, 32, 48)
    for level in range(LEVELS):
        begin = FIRST + EACH * level
        assert torch.allclose(found[0, begin : begin + 3, 5, 5], torch.tensor([0.5, -0.25, 1.0]), atol=1e-5)
        assert found[0, begin + 3 : begin + EACH].abs().max() < 2e-3


def test_slopes_and_bends_are_measured_in_their_levels_pixels():
    x = torch.arange(128.0) / 10
    slope = seen(x.view(1, 1, 1, -1).expand(1, 3, 64, 128))
    bend = seen((x.square() / 2).view(1, 1, 1, -1).expand(1, 3, 64, 128))
    for level in range(LEVELS):
        begin, pixel = FIRST + EACH * level, 2**level / 10
        assert slope[0, begin + 5, 16, 32] == pytest.approx(pixel, rel=0.02)
        assert bend[0, begin + 3, 16, 32] == pytest.approx(pixel**2, rel=0.05)


def test_a_turned_image_has_turned_features():
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    turned = seen(image.flip(3).transpose(2, 3))
    once = seen(image).flip(3).transpose(2, 3)
    coarse = FIRST + EACH  # the finest level is seen at every second pixel, which mirroring shifts
    assert torch.allclose(turned[:, coarse:], once[:, coarse:], atol=1e-4)


def test_filters_of_a_later_version_are_refused():
    assert detail_branch({"filters": 1, "hidden": 4}, 2)(torch.rand(1, 3, 32, 32)).shape == (1, 2, 32, 32)
    with pytest.raises(ValueError, match="filters 9"):
        detail_branch({"filters": 9, "hidden": 4}, 2)


def test_the_branch_says_nothing_of_pixels_unlike_those_it_knows():
    torch.manual_seed(0)
    branch = DetailBranch(2, 4)
    near = torch.full((1, CHANNELS, 2, 2), 0.9)
    with torch.inference_mode():
        assert torch.equal(branch.answers(near), branch.perceptron(near))
        half = branch.answers(torch.full((1, CHANNELS, 2, 2), 1.5**0.5))
        assert torch.allclose(half, branch.perceptron(torch.full((1, CHANNELS, 2, 2), 1.5**0.5)) / 2, atol=1e-5)
        assert not branch.answers(near * 2).any()
