"""Whether the base knows a subject already: how well its own answers, renamed, fit the examples. Nothing is trained.

Each of the base's classes is renamed to the visitor's class that it mostly covers on the *other* examples, so the
figure is not flattered by the example it is taken on.
"""

from collections.abc import Sequence

import numpy as np

from segapp.pipeline.constants import IGNORE
from segapp.pipeline.training.metrics import ious, mean

# docs/engine.md: subjects of the base reach 0.56 and more, others at most 0.19; by ten strokes a class (renaming.py)
# mostly 0.45 and more, and mostly at most 0.38.
KNOWN = 0.4


def knowledge(
    predicted: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    base_classes: int,
    classes: int,
) -> float:
    """How much of the way from the most common class to perfect masks (mean IoU) the base's answers go; may be below 0.

    predicted: channels of the base, truths: channels of the examples with IGNORE, both uint8 of one shape for each
    example. With a single example its left and right halves stand for two.
    """
    if len(truths) == 1:
        middle = truths[0].shape[1] // 2
        predicted = [predicted[0][:, :middle], predicted[0][:, middle:]]
        truths = [truths[0][:, :middle], truths[0][:, middle:]]
    tables = [_table(one, truth, base_classes, classes) for one, truth in zip(predicted, truths, strict=True)]
    every = np.sum(tables, axis=0)
    renamed, trivial = np.zeros((2, classes, classes), np.int64)
    for table in tables:
        others = every - table
        common = others.sum(axis=1).argmax()
        for channel in range(base_classes):
            name = others[:, channel].argmax() if others[:, channel].any() else common
            renamed[:, name] += table[:, channel]
        trivial[:, common] += table.sum(axis=1)
    reached, guessed = mean(ious(renamed)), mean(ious(trivial))
    if reached is None or guessed is None or guessed >= 1.0:
        return 0.0
    return (reached - guessed) / (1.0 - guessed)


def _table(predicted: np.ndarray, truth: np.ndarray, base_classes: int, classes: int) -> np.ndarray:
    """Pixel counts, classes x base_classes."""
    known = truth != IGNORE
    pairs = truth[known].astype(np.int64) * base_classes + predicted[known]
    return np.bincount(pairs, minlength=classes * base_classes).reshape(classes, base_classes)
