"""From logits to class ids and confidence at the image's own size, a strip of rows at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from registry.network import ClassInfo
from segapp.pipeline.inference.upsample import neighbours

BAND_VALUES = 8_000_000  # logits in memory at once while deciding


def decide(logits: Tensor, height: int, width: int, classes: Sequence[ClassInfo]) -> tuple[np.ndarray, np.ndarray]:
    """From logits K,h,w to ids and confidence (uint8 height,width)."""
    decision = Decision(classes, (logits.shape[1], logits.shape[2]), (height, width))
    decision.add(0, logits)
    return decision.ids, enlarged(decision.sure, (height, width))


def enlarged(sure: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Confidence (uint8 h,w) at another height and width, bilinear."""
    if sure.shape == size:
        return sure
    return np.asarray(Image.fromarray(sure).resize((size[1], size[0]), Image.Resampling.BILINEAR))


class Decision:
    """From strips of logits on the grid `source` (height, width) to `ids`, uint8 of `target` (height, width).

    The logits are resized bilinearly and the largest wins. `sure`, uint8 of half of `source`, is the winner's
    probability (255 is certain) on every second place of the network's own grid: its logits are no finer than that.
    """

    def __init__(self, classes: Sequence[ClassInfo], source: tuple[int, int], target: tuple[int, int]) -> None:
        self._table = np.array([c.id for c in classes], dtype=np.uint8)
        self._target = target
        self._above, self._below, self._down = neighbours(source[0], target[0])
        self._columns = neighbours(source[1], target[1])
        self._plain = source == target
        self.sure = np.empty(((source[0] + 1) // 2, (source[1] + 1) // 2), dtype=np.uint8)
        self.ids = np.empty(target, dtype=np.uint8)
        self._next = 0  # the first row of the target that is not decided yet
        self._last: Tensor | None = None  # the last source row, which the next strip's first rows lean on

    def add(self, top: int, strip: Tensor) -> None:
        """The next strip: logits K,rows,w of the source's rows from `top` on."""
        channel = strip.max(dim=0).indices
        bottom = top + strip.shape[1]
        some = strip[:, top % 2 :: 2, ::2]
        certain = (some - some.amax(dim=0)).exp_().sum(dim=0).reciprocal_().mul_(255).round_()
        self.sure[(top + 1) // 2 : (bottom + 1) // 2] = certain.to(torch.uint8).numpy()
        if self._plain:
            self.ids[top:bottom] = self._table[channel.numpy()]
            return
        first = top
        if self._last is not None:
            strip, first = torch.cat([self._last, strip], dim=1), top - 1
            channel = torch.cat([self._last.max(dim=0).indices, channel])
        self._last = strip[:, -1:].clone()
        coarse = channel.to(torch.uint8).numpy()
        end = int(np.searchsorted(self._below, bottom))
        band = max(1, BAND_VALUES // (len(self._table) * self._target[1]))
        for row in range(self._next, end, band):
            rows = slice(row, min(end, row + band))
            self.ids[rows] = self._table[self._rows(strip.numpy(), coarse, rows, first)]
        self._next = end

    def _rows(self, logits: np.ndarray, coarse: np.ndarray, rows: slice, first: int) -> np.ndarray:
        """Channels of some rows of the target. Between four neighbours that agree every mean of them agrees, too, so
        only pixels along the edges of classes are computed."""
        above, below, down = self._above[rows] - first, self._below[rows] - first, self._down[rows]
        left, right, across = self._columns
        upper, lower = coarse[above], coarse[below]
        found = upper[:, left]
        unlike = found != upper[:, right]
        unlike |= found != lower[:, left]
        unlike |= found != lower[:, right]
        y, x = np.nonzero(unlike)
        fall, go = down[y], across[x]
        mean = logits[:, above[y], left[x]] * ((1 - fall) * (1 - go))
        mean += logits[:, above[y], right[x]] * ((1 - fall) * go)
        mean += logits[:, below[y], left[x]] * (fall * (1 - go))
        mean += logits[:, below[y], right[x]] * (fall * go)
        found[y, x] = mean.argmax(axis=0)
        return found
