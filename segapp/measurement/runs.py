"""An image of object numbers as runs: stretches of one number in one row. There are far fewer of them than pixels."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Runs:
    """Of all objects' runs, in reading order: number, row, first column, and how many pixels (int64 k each)."""

    numbers: np.ndarray
    rows: np.ndarray
    firsts: np.ndarray
    lengths: np.ndarray
    width: int

    def sums(self, count: int, weights: np.ndarray) -> np.ndarray:
        """float64 count+1: the sum over each number's runs, 0 the space between objects."""
        return np.bincount(self.numbers, weights, count + 1)

    def areas(self, count: int) -> np.ndarray:
        """int64 count+1: pixels of each number."""
        return self.sums(count, self.lengths).astype(np.int64)

    def first_pixels(self, count: int) -> np.ndarray:
        """int64 count+1: for each number the place of its first pixel in reading order."""
        found = np.zeros(count + 1, np.int64)
        found[self.numbers[::-1]] = (self.rows * self.width + self.firsts)[::-1]
        return found


def runs(labels: np.ndarray) -> Runs:
    """The runs of all numbers above 0 in `labels` (H,W)."""
    width = labels.shape[1]
    begins = np.empty(labels.shape, bool)
    begins[:, 0] = True
    np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    numbers = labels.ravel()[starts].astype(np.int64)
    lengths = np.diff(starts, append=labels.size)
    kept = numbers > 0
    rows, firsts = np.divmod(starts[kept], width)
    return Runs(numbers[kept], rows, firsts, lengths[kept], width)
