"""Less flicker on a static scene, none of the price where something moves."""

import numpy as np
import torch

from segapp.pipeline.video.cuts import Cuts
from segapp.pipeline.video.smoothing import TemporalSmoother, flicker

SIZE = (48, 64)


def noisy_scene(count: int, seed: int = 0):
    """A still edge between two classes, with noise in image and logits: (images, logits)."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    scene = np.tile(np.linspace(60, 180, SIZE[1]), (SIZE[0], 1))
    true = torch.linspace(-2, 2, SIZE[1]).expand(*SIZE)
    for _ in range(count):
        image = np.clip(scene + rng.normal(0, 5, SIZE), 0, 255).astype(np.uint8)
        noise = torch.randn(SIZE, generator=generator) * 0.5
        yield np.repeat(image[..., None], 3, axis=2), torch.stack([-(true + noise), true + noise])


def masks(strength: float) -> list[np.ndarray]:
    smoother = TemporalSmoother(strength)
    return [smoother(logits, image).argmax(0).numpy() for image, logits in noisy_scene(20)]


def test_a_static_noisy_scene_flickers_less_than_half_as_much():
    plain, smoothed = flicker(masks(0)), flicker(masks(0.7)[5:])
    assert plain > 0.05
    assert smoothed < plain / 2


def test_the_mean_does_not_move_the_edge():
    edge = [mask.sum(axis=1).mean() for mask in masks(0.7)]
    assert abs(np.mean(edge[5:]) - SIZE[1] / 2) < 1.5


def test_what_moves_is_decided_by_the_present_frame():
    """A bright square jumps away: its old place is free at once."""
    smoother = TemporalSmoother(0.9)
    for left in (8, 8, 8, 32):
        image = np.full((*SIZE, 3), 20, np.uint8)
        image[16:40, left : left + 16] = 230
        logits = torch.from_numpy(image[..., 0].astype(np.float32) - 125)
        mask = smoother(torch.stack([-logits, logits]), image).argmax(0).numpy()
    assert mask[20:36, 34:46].all()
    assert not mask[20:36, 10:22].any()


def test_a_cut_starts_a_new_mean():
    smoother = TemporalSmoother(0.9)
    same = np.full((*SIZE, 3), 100, np.uint8)
    for _ in range(5):
        smoother(torch.stack([torch.ones(SIZE), -torch.ones(SIZE)]), same)
    other = torch.stack([torch.full(SIZE, -0.1), torch.full(SIZE, 0.1)])
    assert smoother(other.clone(), same).argmax(0).sum() == 0
    assert smoother(other.clone(), same, cut=True).argmax(0).bool().all()


def test_cuts_are_told_from_movement():
    rng = np.random.default_rng(3)
    scenes = [rng.integers(0, 255, (180, 320)).astype(np.uint8) for _ in range(2)]
    cuts = Cuts()
    seen = [cuts(np.roll(scenes[k // 10] // 8 + 100 * (k // 10), k, axis=1)) for k in range(20)]
    assert [k for k, cut in enumerate(seen) if cut] == [10]


def test_flicker_counts_changed_pixels():
    a = np.zeros((10, 10), np.uint8)
    b = a.copy()
    b[:, :5] = 1
    assert flicker([a, b, b]) == 0.25
    assert flicker([a]) == 0.0
