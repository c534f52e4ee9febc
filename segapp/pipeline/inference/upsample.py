"""From logits to class ids at another size: bilinear, then the largest. For images in strips, for video frames at once.

Between four neighbours of the logits' own grid whose largest is the same class, every mean of them has that class,
too. So only the pixels along the edges of classes are interpolated, some percent of all: many times as fast on a CPU
as resizing all logits.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from registry.network import ClassInfo

EDGE = np.uint8(128)  # added to a channel that has another one beside it; there are at most 64 classes
BAND_VALUES = 8_000_000  # logits of edges in memory at once, at most

Neighbours = tuple[np.ndarray, np.ndarray, np.ndarray]


def decide(logits: Tensor, height: int, width: int, classes: Sequence[ClassInfo]) -> tuple[np.ndarray, np.ndarray]:
    """From logits K,h,w to ids and confidence (uint8 height,width)."""
    decision = Decision(classes, (logits.shape[1], logits.shape[2]), (height, width))
    decision.add(0, logits)
    return decision.ids, enlarged(decision.coarse_confidence, (height, width))


def channels(logits: Tensor, height: int, width: int) -> np.ndarray:
    """Which of the channels of logits K,h,w is the largest, uint8 height,width."""
    if logits.device.type != "cpu":
        wide = F.interpolate(logits[None], size=(height, width), mode="bilinear", align_corners=False)
        return wide[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
    values = logits.contiguous().numpy()
    return by_edges(values, neighbours(values.shape[1], height), neighbours(values.shape[2], width))


Span = tuple[int, int]  # the first row and the one after the last


def enlarged(confidence: np.ndarray, size: tuple[int, int], rows: Span | None = None) -> np.ndarray:
    """Confidence (uint8 h,w) at another height and width, bilinear; `rows`: only these of them."""
    if confidence.shape == size:
        return confidence if rows is None else confidence[slice(*rows)]
    return _resized(confidence, size, rows)


def coarse_map(top: int, strip: Tensor) -> np.ndarray:
    """A strip of a map (rows,w of 0 to 1, the source's rows from `top` on), uint8 on coarse confidence's places."""
    return strip[top % 2 :: 2, ::2].mul(255).round_().clamp_(0, 255).to(torch.uint8).numpy()


def interior_map(coarse: np.ndarray, size: tuple[int, int], rows: Span | None = None) -> np.ndarray:
    """A coarse map (uint8 h,w) at another height and width, bilinear, float32 of 0 to 1; `rows`: only these of them."""
    if rows is None:
        return _resized(coarse.astype(np.float32) / 255, size, None)
    down = coarse.shape[0] / size[0]
    above = max(0, int(rows[0] * down) - 2)  # a conversion of all of it would take four times its memory
    part = coarse[above : int(rows[1] * down) + 3].astype(np.float32) / 255
    return _resized(part, size, rows, down, above)


def _resized(
    values: np.ndarray, size: tuple[int, int], rows: Span | None, down: float | None = None, above: int = 0
) -> np.ndarray:
    """Rows of `values` at another height and width; down: places of it a row, above: places that it lacks."""
    first, last = rows or (0, size[0])
    down = down or values.shape[0] / size[0]
    box = (0.0, max(0.0, first * down - above), float(values.shape[1]), min(last * down - above, float(len(values))))
    whole = Image.fromarray(values)
    return np.asarray(whole.resize((size[1], last - first), Image.Resampling.BILINEAR, box=box))


class Decision:
    """From strips of logits on the grid `source` (height, width) to `ids`, uint8 of `target` (height, width).

    `coarse_confidence`, uint8 of half of `source`, is the winner's probability (255 is certain) on every second place
    of the network's own grid: its logits are no finer than that.
    """

    def __init__(self, classes: Sequence[ClassInfo], source: tuple[int, int], target: tuple[int, int]) -> None:
        self._table = np.array([c.id for c in classes], dtype=np.uint8)
        self._above, self._below, self._down = neighbours(source[0], target[0])
        self._columns = neighbours(source[1], target[1])
        self._plain = source == target
        self._band = max(1, BAND_VALUES // (len(self._table) * target[1]))  # rows of the target
        self.coarse_confidence = np.empty(((source[0] + 1) // 2, (source[1] + 1) // 2), dtype=np.uint8)
        self.ids = np.empty(target, dtype=np.uint8)
        self._next = 0  # the first row of the target that is not decided yet
        self._last: Tensor | None = None  # the last source row, which the next strip's first rows lean on

    def add(self, top: int, strip: Tensor, own: Tensor | None = None) -> None:
        """The next strip: logits K,rows,w of the source's rows from `top` on, float32 on the CPU. `own`: those that
        confidence is taken from, where it is not `strip`."""
        bottom = top + strip.shape[1]
        some = (strip if own is None else own)[:, top % 2 :: 2, ::2]
        certain = (some - some.amax(dim=0)).exp_().sum(dim=0).reciprocal_().mul_(255).round_()
        self.coarse_confidence[(top + 1) // 2 : (bottom + 1) // 2] = certain.to(torch.uint8).numpy()
        if self._plain:
            self.ids[top:bottom] = self._table[largest(strip.numpy())]
            return
        first = top
        if self._last is not None:
            strip, first = torch.cat([self._last, strip], dim=1), top - 1
        self._last = strip[:, -1:].clone()
        values = strip.contiguous().numpy()
        coarse = marked(largest(values))
        end = int(np.searchsorted(self._below, bottom))
        for row in range(self._next, end, self._band):
            band = slice(row, min(end, row + self._band))
            rows = self._above[band] - first, self._below[band] - first, self._down[band]
            self.ids[band] = self._table[by_edges(values, rows, self._columns, coarse)]
        self._next = end


def by_edges(values: np.ndarray, rows: Neighbours, columns: Neighbours, coarse: np.ndarray | None = None) -> np.ndarray:
    """Channels (uint8) of logits K,h,w, contiguous, at the target's rows and columns.

    `coarse`: the marked channels of `values`, where the caller has them already.
    """
    classes, _, w = values.shape
    coarse = marked(largest(values)) if coarse is None else coarse
    (above, below, down), (left, right, across) = rows, columns
    start, stop = above[0], below[-1] + 1
    found = coarse[start:stop].take(left, axis=1).take(above - start, axis=0)
    edge = np.flatnonzero(found >= EDGE)
    if len(edge):
        y, x = np.divmod(edge, len(left))
        flat, fall, go = values.reshape(classes, -1), down[y], across[x]
        y0, y1, x0, x1 = above[y] * w, below[y] * w, left[x], right[x]
        mean = flat.take(y0 + x0, axis=1) * ((1 - fall) * (1 - go))
        mean += flat.take(y0 + x1, axis=1) * ((1 - fall) * go)
        mean += flat.take(y1 + x0, axis=1) * (fall * (1 - go))
        mean += flat.take(y1 + x1, axis=1) * (fall * go)
        found.reshape(-1)[edge] = largest(mean)
    return found


def largest(values: np.ndarray) -> np.ndarray:
    """Where along the first axis the largest value is, uint8; quicker than argmax, which goes against the memory."""
    most, where = values[0].copy(), np.zeros(values.shape[1:], np.uint8)
    for k in range(1, len(values)):
        more = values[k] > most
        np.copyto(where, np.uint8(k), where=more)
        np.maximum(most, values[k], out=most)
    return where


def marked(coarse: np.ndarray) -> np.ndarray:
    """Channels h,w with EDGE added where the right, the lower or the diagonal neighbour is another one."""
    unlike = np.zeros(coarse.shape, bool)
    across = coarse[:, 1:] != coarse[:, :-1]
    down = coarse[1:] != coarse[:-1]
    unlike[:, :-1] |= across
    unlike[:-1] |= down
    unlike[:-1, :-1] |= across[1:]
    return coarse | (unlike * EDGE)


def neighbours(source: int, target: int) -> Neighbours:
    """For every target position the two source positions around it, and how far it is from the first (0 to 1)."""
    at = np.clip((np.arange(target, dtype=np.float32) + 0.5) * (source / target) - 0.5, 0, source - 1)
    first = at.astype(np.int64)
    return first, np.minimum(first + 1, source - 1), (at - first).astype(np.float32)
