"""Logit adjustment: constants added to a trained base's logits, fitted to the pairs it was trained on.

A pixel that is only known not to be X spreads its probability over all other classes,
so X wins with a third of it and is predicted far too often. A constant is therefore
added to each class's logit, as in post-hoc logit adjustment (Menon et al., "Long-tail
learning via logit adjustment", ICLR 2021), chosen here for IoU itself. The constants
become part of the head's bias.
"""

import random
from collections.abc import Sequence

import numpy as np
import torch

from registry.network import Network, Spec
from segapp.imaging.tiling import fitted
from segapp.pipeline.base.datasets import Labels
from segapp.pipeline.base.loop import as_loaded
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.predict import logits_of, resized
from segapp.pipeline.training.augment import Pair

MAX_IMAGES = 60  # per set
PIXELS = 2000  # per image
STEPS = (-2.0, -1.0, -0.5, -0.25, 0.25, 0.5, 1.0, 2.0)
MAX_OFFSET = 4.0
MIN_GAIN = 5e-4  # of mean IoU; less is noise
MIN_PIXELS = 200  # sampled pixels of a class; fewer are not evidence

Sample = tuple[np.ndarray, np.ndarray]  # logits float32 N,K and codes uint8 N of one set


def adjust_logits(
    spec: Spec, network: Network, pools: Sequence[Sequence[Pair]], labels: Labels, seed: int
) -> dict[str, float]:
    """Add the fitted offsets to the head's bias; returns them by class name."""
    samples = [_sample(spec, network, pool, seed) for pool in pools if pool]
    offsets = fit_offsets(samples, labels.allowed)
    bias = network.segmentation_head[0].bias
    with torch.no_grad():
        bias += torch.from_numpy(offsets).to(bias)
    return {c.name: float(o) for c, o in zip(labels.classes, offsets, strict=True)}


def fit_offsets(samples: Sequence[Sample], allowed: np.ndarray) -> np.ndarray:
    """Offsets (float32 K) to the logits under which the mean IoU over all sets and their classes is highest.

    allowed is codes,K bool. One class is moved after the other, each by the step that gains most, until none gains
    more. A class of fewer than MIN_PIXELS pixels stays where it is: nothing shows what lowering it costs.
    """
    offsets = np.zeros(allowed.shape[1], dtype=np.float32)
    seen = np.bincount(np.concatenate([codes for _, codes in samples]), minlength=len(offsets)) if samples else ()
    known = [channel for channel, pixels in enumerate(seen[: len(offsets)]) if pixels >= MIN_PIXELS]
    best, moved = _mean_iou(samples, allowed, offsets), True
    while moved:
        moved = False
        for channel in known:
            tries = []
            for step in STEPS:
                tried = offsets.copy()
                tried[channel] = np.clip(tried[channel] + step, -MAX_OFFSET, MAX_OFFSET)
                tries.append((_mean_iou(samples, allowed, tried), step, tried))
            value, _, tried = max(tries, key=lambda trial: (trial[0], -abs(trial[1])))
            if value > best + MIN_GAIN:
                best, offsets, moved = value, tried, True
    return offsets


def count(codes: np.ndarray, predicted: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Pixels right, missed and falsely predicted (3,K) of predicted channels against codes.

    A pixel counts as falsely predicted only where its code excludes that class.
    """
    known = codes != IGNORE
    codes, predicted = codes[known], predicted[known]
    classes = allowed.shape[1]
    right = np.bincount(codes[codes == predicted], minlength=classes)[:classes]
    missed = np.bincount(codes[(codes < classes) & (codes != predicted)], minlength=classes)[:classes]
    wrong = np.bincount(predicted[~allowed[codes, predicted]], minlength=classes)[:classes]
    return np.stack([right, missed, wrong])


def _mean_iou(samples: Sequence[Sample], allowed: np.ndarray, offsets: np.ndarray) -> float:
    values: list[float] = []
    for logits, codes in samples:
        right, missed, wrong = count(codes, (logits + offsets).argmax(axis=1), allowed)
        present = right + missed > 0
        values += (right[present] / (right + missed + wrong)[present]).tolist()
    return sum(values) / max(1, len(values))


def _sample(spec: Spec, network: Network, pool: Sequence[Pair], seed: int) -> Sample:
    """Logits and codes at random pixels of some of a set's pairs, at the size used in prediction."""
    net = as_loaded(spec, network)
    rng = np.random.default_rng(seed)
    logits, codes = [], []
    for pair in random.Random(seed).sample(list(pool), min(len(pool), MAX_IMAGES)):
        height, width = pair.codes.shape
        seen = logits_of(net, resized(pair.image, fitted(height, width, spec.input_size)))
        rows, columns = rng.integers(0, height, PIXELS), rng.integers(0, width, PIXELS)
        down, across = rows * seen.shape[1] // height, columns * seen.shape[2] // width
        logits.append(seen[:, down, across].numpy().T)
        codes.append(pair.codes[rows, columns])
    return np.concatenate(logits), np.concatenate(codes)
