"""The training of a detail branch."""

import numpy as np
import pytest
import torch

from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.training.detail import train_detail
from segapp.pipeline.training.features import Prepared


def stripes(seed: int, width: int = 96) -> Prepared:
    """Grey noise whose right part is striped finely: no colour tells the two apart."""
    rng = np.random.default_rng(seed)
    image = rng.normal(128, 5, (64, width))
    middle = width // 2 + int(rng.integers(-8, 8))
    image[:, middle:] += 30 * (np.arange(width - middle) % 2 * 2 - 1)
    mask = np.zeros((64, width), np.uint8)
    mask[:, middle:] = 1
    return Prepared(np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), mask)


def agreement(base, branch, example: Prepared) -> float:
    with torch.inference_mode():
        found = branch(normalised(example.image, base))[0, :, : example.mask.shape[0], : example.mask.shape[1]]
    return float((found.argmax(dim=0).numpy() == example.mask).mean())


def test_texture_that_no_colour_tells_apart_is_learnt(base):
    branch = train_detail(base, [stripes(0), stripes(1), stripes(2)], [0, 1], 2, seed=0)
    assert agreement(base, branch, stripes(9)) > 0.95


@pytest.mark.slow
def test_the_same_seed_gives_the_same_branch_and_other_random_numbers_go_on(base):
    examples = [stripes(0), stripes(1)]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, again, other = (train_detail(base, examples, [0, 1], 2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    pairs = zip(one.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.perceptron[0].weight, other.perceptron[0].weight)


def test_without_labelled_pixels_there_is_no_branch_and_absent_classes_do_no_harm(base):
    blank = Prepared(stripes(0).image, np.full_like(stripes(0).mask, 255))
    assert train_detail(base, [blank], [0], 2, seed=0) is None
    branch = train_detail(base, [stripes(0)], [0], 5, seed=0)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in branch.state_dict().values())
