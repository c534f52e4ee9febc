"""Logits of an image larger than one pass: tiles that overlap, blended, a strip of rows at a time.

Only one strip of sums stands in memory, however high the image.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from segapp.imaging.tiling import OVERLAP, starts

STRIP_VALUES = 8_000_000  # logits given at once

Run = Callable[[np.ndarray], Tensor]


def strips(
    run: Run, image: np.ndarray, tile: int, classes: int, tick: Callable[[float], None] = lambda _: None
) -> Iterator[tuple[int, Tensor]]:
    """(first row, logits K,rows,W) from the top down, every row of `image` (uint8 H,W,3) once.

    `run` gives the logits K,h,w of a tile of at most `tile` pixels a side. Where tiles overlap, their logits are
    blended by weights that fade towards a tile's border. `tick` is called with the share of tiles done.
    """
    height, width = image.shape[:2]
    rows, cols = starts(height, tile), starts(width, tile)
    if len(rows) == len(cols) == 1:
        yield 0, run(image)
        return
    total = torch.zeros(classes, min(tile, height), width)
    weight = torch.zeros(min(tile, height), width)
    for number, top in enumerate(rows):
        for position, left in enumerate(cols):
            piece = image[top : top + tile, left : left + tile]
            fade = fades(piece.shape[0], tile)[:, None] * fades(piece.shape[1], tile)[None]
            total[:, :, left : left + tile] += run(piece) * fade
            weight[:, left : left + tile] += fade
            tick((number * len(cols) + position + 1) / (len(rows) * len(cols)))
        done = (rows[number + 1] if number + 1 < len(rows) else height) - top
        step = max(1, STRIP_VALUES // (classes * width))
        for first in range(0, done, step):
            last = min(done, first + step)
            yield top + first, total[:, first:last] / weight[first:last]
        for sums in (*total, weight):  # what the next row of tiles overlaps moves to the top
            left_over = sums[done:].clone()
            sums.zero_()
            sums[: len(left_over)] = left_over


def fades(length: int, tile: int) -> Tensor:
    """Weights along a tile's side: one in the middle, falling over the overlap."""
    distance = torch.arange(length).float() + 0.5
    distance = torch.minimum(distance, length - distance)
    return (distance / (tile * OVERLAP / 2)).clamp(1e-3, 1.0)
