"""Both ways from logits to ids agree: the quick one interpolates along edges only."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segapp.pipeline.inference.upsample import by_edges


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
    found = torch.from_numpy(by_edges(logits, *target).astype(np.int64))
    chosen = plain.gather(0, found[None])[0]
    assert (best - chosen).max() < 1e-5, "the largest, up to rounding"
