"""From logits to class ids and confidence at the picture's own size, a strip of rows at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from registry.network import ClassInfo
from segapp.pipeline.clip_decide import neighbours

BAND_VALUES = 8_000_000  # logits in memory at once while deciding


def decide(logits: Tensor, height: int, width: int, classes: Sequence[ClassInfo]) -> tuple[np.ndarray, np.ndarray]:
    """From logits K,h,w to ids and confidence (uint8 height,width)."""
    decision = Decision(classes, (logits.shape[1], logits.shape[2]), (height, width))
    decision.add(0, logits)
    return decision.result()


class Decision:
    """ids and confidence of `target` (height, width) from strips of logits on the grid `source` (height, width).

    The logits are resized bilinearly and the largest wins. Confidence is the winner's probability on the network's
    own grid, resized: finer than that it is not known.
    """

    def __init__(self, classes: Sequence[ClassInfo], source: tuple[int, int], target: tuple[int, int]) -> None:
        self._table = np.array([c.id for c in classes], dtype=np.uint8)
        self._target = target
        self._above, self._below, self._down = neighbours(source[0], target[0])
        self._columns = neighbours(source[1], target[1])
        self._plain = source == target
        self._certain = np.empty(source, dtype=np.uint8)
        self._ids = np.empty(target, dtype=np.uint8)
        self._next = 0  # the first row of the target that is not decided yet
        self._last: Tensor | None = None  # the last source row, which the next strip's first rows lean on

    def add(self, top: int, strip: Tensor) -> None:
        """The next strip: logits K,rows,w of the source's rows from `top` on."""
        best, channel = strip.max(dim=0)
        certain = (strip - best).exp_().sum(dim=0).reciprocal_().mul_(255).round_()
        bottom = top + strip.shape[1]
        self._certain[top:bottom] = certain.to(torch.uint8).numpy()
        if self._plain:
            self._ids[top:bottom] = self._table[channel.numpy()]
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
            self._ids[rows] = self._table[self._rows(strip.numpy(), coarse, rows, first)]
        self._next = end

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """ids and confidence, uint8 each, when all strips were added."""
        if self._plain:
            return self._ids, self._certain
        height, width = self._target
        resized = Image.fromarray(self._certain).resize((width, height), Image.Resampling.BILINEAR)
        return self._ids, np.asarray(resized)

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
