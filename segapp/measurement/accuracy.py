"""How well found objects agree with true ones: matched at an IoU above 0.5, and counted.

At that threshold an object matches at most one other, so no assignment has to be solved. Average precision is that of
the 2018 Data Science Bowl (Caicedo et al. 2019, Nature Methods 16, 1247) and of StarDist (Schmidt et al. 2018,
MICCAI): matched over all objects of both sides, at one threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segapp.measurement.objects import Objects

MIN_IOU = 0.5


@dataclass(frozen=True)
class Agreement:
    """Of one image: objects in truth, objects found, and how many of them are pairs of one class."""

    truths: int
    found: int
    matched: int

    @property
    def precision(self) -> float:
        """AP@0.5: matched / (matched + missed + extra); 1 where there is nothing and nothing was found."""
        union = self.truths + self.found - self.matched
        return self.matched / union if union else 1.0

    @property
    def f1(self) -> float:
        """2 matched / (truths + found)."""
        both = self.truths + self.found
        return 2 * self.matched / both if both else 1.0

    @property
    def miscounted(self) -> int:
        return abs(self.found - self.truths)

    @property
    def count_error(self) -> float:
        """Miscounted, of the true number (of 1 where there are none)."""
        return self.miscounted / max(1, self.truths)


def compare(truth: Objects, found: Objects) -> Agreement:
    """The objects of one image against the true ones; those of different classes never match."""
    true_areas = np.bincount(truth.labels.ravel(), minlength=truth.count + 1)
    areas = np.bincount(found.labels.ravel(), minlength=found.count + 1)
    both = (truth.labels > 0) & (found.labels > 0)
    width = found.count + 1
    keys, shared = np.unique(truth.labels[both].astype(np.int64) * width + found.labels[both], return_counts=True)
    one, other = np.divmod(keys, width)
    alike = truth.class_ids[one - 1] == found.class_ids[other - 1]
    matched = alike & (shared > MIN_IOU * (true_areas[one] + areas[other] - shared))
    return Agreement(truth.count, found.count, int(matched.sum()))


def means(agreements: Sequence[Agreement]) -> dict[str, float]:
    """ap50, f1, count_error (of the true number) and miscounted (objects an image), each the mean over images."""
    return {
        "ap50": float(np.mean([one.precision for one in agreements])),
        "f1": float(np.mean([one.f1 for one in agreements])),
        "count_error": float(np.mean([one.count_error for one in agreements])),
        "miscounted": float(np.mean([one.miscounted for one in agreements])),
    }
