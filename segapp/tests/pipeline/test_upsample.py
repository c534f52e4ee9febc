"""From logits to ids: only the edges of classes are interpolated, in strips or at once, and nothing of it shows."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from registry.network import ClassInfo
from segapp.pipeline.inference import upsample
from segapp.pipeline.inference.upsample import Decision, channels, decide, enlarged

CLASSES = [ClassInfo(2, "a", "#000000"), ClassInfo(7, "b", "#ffffff")]


def smooth_logits(classes: int, height: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rough = torch.randn(1, classes, max(1, height // 8), max(1, width // 8), generator=generator)
    return F.interpolate(rough, size=(height, width), mode="bilinear")[0] + 0.05 * torch.randn(
        classes, height, width, generator=generator
    )


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((36, 64), (135, 240)),
        ((36, 64), (36, 64)),
        ((64, 64), (33, 31)),
        ((1, 64), (3, 100)),
        ((7, 5), (1, 1)),
        ((1, 1), (4, 4)),
    ],
)
@pytest.mark.parametrize("classes", [1, 2, 11])
def test_ids_are_those_of_interpolating_everything(size, target, classes):
    logits = smooth_logits(classes, *size, seed=classes)
    plain = F.interpolate(logits[None], size=target, mode="bilinear", align_corners=False)[0]
    best = plain.max(dim=0).values
    found = torch.from_numpy(channels(logits, *target).astype(np.int64))
    chosen = plain.gather(0, found[None])[0]
    assert (best - chosen).max() < 1e-5, "the largest, up to rounding"


def test_bands_give_the_same_as_the_whole(monkeypatch):
    logits = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(0))
    whole = decide(logits, 61, 90, CLASSES)
    monkeypatch.setattr(upsample, "BAND_VALUES", 500)
    bands = decide(logits, 61, 90, CLASSES)
    assert np.array_equal(whole[0], bands[0])
    assert np.abs(whole[1].astype(int) - bands[1]).max() <= 1
    resized = F.interpolate(logits[None], (61, 90), mode="bilinear")[0]
    assert (whole[0] == np.array([2, 7])[resized.argmax(0).numpy()]).mean() > 0.999


@pytest.mark.parametrize(("source", "target"), [((64, 48), (300, 225)), ((64, 48), (40, 30)), ((64, 48), (64, 48))])
def test_strips_decide_like_the_whole(monkeypatch, source, target):
    logits = torch.randn(3, 8, 6, generator=torch.Generator().manual_seed(1))
    logits = F.interpolate(logits[None], source, mode="bicubic")[0]
    classes = [*CLASSES, ClassInfo(9, "c", "#888888")]
    whole = decide(logits, *target, classes)
    monkeypatch.setattr(upsample, "BAND_VALUES", 3 * target[1] * 7)
    decision = Decision(classes, source, target)
    for top, bottom in ((0, 1), (1, 20), (20, 21), (21, 64)):
        decision.add(top, logits[:, top:bottom])
    ids, confidence = decision.ids, enlarged(decision.coarse_confidence, target)
    assert np.array_equal(ids, whole[0]) and np.array_equal(confidence, whole[1])
    full = F.interpolate(logits[None], target, mode="bilinear")[0]
    assert (ids == np.array([2, 7, 9])[full.argmax(0).numpy()]).mean() > 0.999
    exact = (torch.softmax(logits, 0).max(0).values * 255).round().numpy()
    assert np.abs(decision.coarse_confidence - exact[::2, ::2]).max() <= 1
