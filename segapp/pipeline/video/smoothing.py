"""Less flicker: a running mean of logits, kept where the image stands still and dropped where it moves.

A network predicts every frame independently, so noise alone makes pixels near an edge change their class. Averaging
their logits over time reduces that; averaging across a movement or a cut would smear the mask, so there the mean
starts again.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

STRENGTH = 0.7  # share of the past in the mean where nothing moves; 0 switches it off
BLOCK = 8  # pixels a side over which movement is measured
MAX_NOISE = 8.0  # grey levels that count as noise at most
MOVED = 12.0  # grey levels above the noise at which the past counts for nothing


class TemporalSmoother:
    """Running mean of logits over the frames of one scene."""

    def __init__(self, strength: float = STRENGTH) -> None:
        self.strength = strength
        self._mean: Tensor | None = None
        self._grey: Tensor | None = None

    def __call__(self, logits: Tensor, image: np.ndarray, cut: bool = False) -> Tensor:
        """Smoothed logits K,h,w; image is what the network saw, uint8 h,w,3; a cut starts a new mean."""
        if self.strength <= 0:
            return logits
        grey = torch.from_numpy(np.ascontiguousarray(image[:, :, 1])).to(logits.device).float()
        if cut or self._mean is None or self._grey is None or self._mean.shape != logits.shape:
            self._mean = logits.clone()
        else:
            keep = self.strength * stillness(grey, self._grey)
            self._mean = torch.lerp(logits, self._mean, keep.to(logits.dtype)[None])
        self._grey = grey
        return self._mean


def stillness(grey: Tensor, before: Tensor) -> Tensor:
    """1 where two images (h,w, 0 to 255) differ by noise only, 0 where something moved."""
    change = F.avg_pool2d((grey - before).abs()[None, None], BLOCK, ceil_mode=True, count_include_pad=False)
    noise = change.median().clamp(max=MAX_NOISE)
    still = (1 - (change - noise) / MOVED).clamp(0, 1)
    return F.interpolate(still, size=grey.shape, mode="bilinear", align_corners=False)[0, 0]


def flicker(masks: Sequence[np.ndarray]) -> float:
    """Share of pixels whose class changes from one mask to the next, 0 to 1; on a static scene all of it is noise."""
    if len(masks) < 2:
        return 0.0
    return float(np.mean([np.mean(a != b) for a, b in itertools.pairwise(masks)]))
