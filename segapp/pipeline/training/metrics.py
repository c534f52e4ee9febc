"""Metrics of masks: confusion matrix, IoU and Dice per class. Torch-free."""

from collections.abc import Iterable, Sequence

import numpy as np

from segapp.pipeline.constants import IGNORE


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Pixel counts, classes x classes: row is the truth, column the prediction.

    Both are arrays of channel numbers of one shape; truth IGNORE is left out.
    """
    known = truth != IGNORE
    pairs = truth[known].astype(np.int64) * classes + predicted[known].astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def ious(counts: np.ndarray) -> list[float | None]:
    """Per class, intersection over union; None for a class that the truth does not contain."""
    both = np.diag(counts).astype(float)
    union = counts.sum(0) + counts.sum(1) - both
    present = counts.sum(1) > 0
    return [float(b / u) if p else None for b, u, p in zip(both, union, present, strict=True)]


def dices(counts: np.ndarray) -> list[float | None]:
    """Per class, the Dice coefficient; None for a class that the truth does not contain."""
    both = np.diag(counts).astype(float)
    size = counts.sum(0) + counts.sum(1)
    present = counts.sum(1) > 0
    return [float(2 * b / s) if p else None for b, s, p in zip(both, size, present, strict=True)]


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not None; None when there are none."""
    present_values = [v for v in values if v is not None]
    return float(sum(present_values) / len(present_values)) if present_values else None


def channels(mask: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """A mask of class ids as a mask of channel numbers; other ids become IGNORE."""
    table = np.full(256, IGNORE, dtype=np.uint8)
    for channel, id_ in enumerate(ids):
        table[id_] = channel
    return table[mask]
