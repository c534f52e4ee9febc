"""Class shares from a classifier that was fitted to as many examples of each class."""

import pytest
import torch

from segapp.pipeline.inference.priors import estimated_shares


def seen(shares, apart, count=20_000):
    """Logits, under equal priors, of points around +apart and -apart of two classes that occur by `shares`."""
    rng = torch.Generator().manual_seed(0)
    second = torch.rand(count, generator=rng) < shares[1]
    x = torch.randn(count, generator=rng) + torch.where(second, apart, -apart)
    return torch.stack([-apart * x, apart * x], dim=1)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
def test_shares_are_found_though_the_classifier_takes_classes_for_equally_common(share):
    found = estimated_shares(seen([share, 1 - share], 1.5), torch.tensor([0.5, 0.5]))
    assert found[0] == pytest.approx(share, abs=0.02) and found.sum() == pytest.approx(1)


def test_a_class_without_strokes_has_no_share():
    logits = torch.cat([seen([0.8, 0.2], 1.5), torch.full((20_000, 1), 9.0)], dim=1)
    found = estimated_shares(logits, torch.tensor([3.0, 3.0, 0.0]))
    assert found[2] == 0 and found[0] == pytest.approx(0.8, abs=0.02)
