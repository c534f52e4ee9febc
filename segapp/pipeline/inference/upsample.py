"""From logits to class ids on a finer grid: bilinear, then the largest. Two ways to the same answer."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = np.uint8(128)  # above every channel: there are at most 64 classes


def decide(logits: Tensor, height: int, width: int) -> Tensor:
    """Channel (uint8 height,width) of the largest of logits K,h,w after bilinear resizing."""
    if logits.device.type != "cpu":
        wide = F.interpolate(logits[None], size=(height, width), mode="bilinear", align_corners=False)
        return wide[0].argmax(dim=0).to(torch.uint8)
    return torch.from_numpy(by_edges(logits.contiguous(), height, width))


def by_edges(logits: Tensor, height: int, width: int) -> np.ndarray:
    """The same, computed where it is not obvious: between four neighbours that agree, every mean of them agrees, too.

    Only pixels along the edges of classes are left to interpolate, some percent of all. Many times as fast on a CPU.
    """
    classes, h, w = logits.shape
    values = logits.numpy()
    coarse = largest(values)
    above, below, down = neighbours(h, height)
    left, right, across = neighbours(w, width)
    found = marked(coarse).take(left, axis=1).take(above, axis=0)
    edge = np.flatnonzero(found >= EDGE)
    if len(edge):
        y, x = np.divmod(edge, width)
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


def neighbours(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every target position the two source positions around it, and how far it is from the first (0 to 1)."""
    at = np.clip((np.arange(target, dtype=np.float32) + 0.5) * (source / target) - 0.5, 0, source - 1)
    first = at.astype(np.int64)
    return first, np.minimum(first + 1, source - 1), (at - first).astype(np.float32)
