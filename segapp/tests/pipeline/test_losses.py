"""Losses: partial labels are not punished, odd masks stay finite."""

import pytest
import torch

from segapp.pipeline.training.losses import cross_entropy_dice, partial_loss

ALLOWED = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=torch.bool)  # code 3: "not class 2"


def gradient(code: int, logits=(0.3, -0.2, 0.5)) -> torch.Tensor:
    value = torch.tensor(logits).view(1, 3, 1, 1).requires_grad_(True)
    codes = torch.full((1, 1, 1), code)
    partial_loss(value, codes, ALLOWED, torch.ones(4)).backward()
    assert value.grad is not None
    return value.grad.flatten()


def test_a_known_pixel_costs_plain_cross_entropy():
    logits = torch.randn(1, 3, 4, 4)
    codes = torch.randint(0, 3, (1, 4, 4))
    expected = torch.nn.functional.cross_entropy(logits, codes)
    assert torch.allclose(partial_loss(logits, codes, ALLOWED, torch.ones(4)), expected)


def test_not_x_pushes_x_down_and_says_nothing_among_the_others():
    logits = torch.tensor([0.3, -0.2, 0.5])
    pushed = gradient(3)
    assert pushed[2] > 0  # descent lowers what is excluded
    shares = torch.softmax(logits, 0)
    assert torch.allclose(pushed[0] / pushed[1], shares[0] / shares[1], atol=1e-5)
    loss = partial_loss(logits.view(1, 3, 1, 1), torch.full((1, 1, 1), 3), ALLOWED, torch.ones(4))
    assert torch.allclose(loss, -torch.log(1 - shares[2]))


def test_ignored_pixels_teach_nothing():
    assert torch.equal(gradient(255), torch.zeros(3))


@pytest.mark.fault(17)
def test_all_ignored_and_one_class_stay_finite():
    logits = torch.randn(2, 2, 8, 8, requires_grad=True)
    nothing = torch.full((2, 8, 8), 255)
    assert cross_entropy_dice(logits, nothing).item() == 0.0
    assert torch.isfinite(cross_entropy_dice(logits, torch.zeros(2, 8, 8, dtype=torch.long)))


def test_dice_is_zero_for_a_perfect_answer():
    target = torch.randint(0, 2, (1, 8, 8))
    sure = (torch.nn.functional.one_hot(target, 2).permute(0, 3, 1, 2).float() - 0.5) * 60
    assert float(cross_entropy_dice(sure, target)) < 1e-3
