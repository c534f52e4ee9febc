"""Pairs for training a base: read once, kept small in memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segapp.pipeline.base.datasets import Labels, stems_of
from segapp.pipeline.training.augment import Pair

LONG_SIDE = 640  # images are kept at most this large


def load_pairs(folder: Path, stems: Sequence[str], table: np.ndarray) -> list[Pair]:
    """Read the pairs of these stems, at most LONG_SIDE pixels long, masks as codes."""
    files = stems_of(folder)
    pairs = []
    for stem in stems:
        image_path, mask_path = files[stem]
        with Image.open(image_path) as opened:
            image = opened.convert("RGB")
        with Image.open(mask_path) as opened:
            mask = Image.fromarray(np.asarray(opened, dtype=np.uint8))
        if image.size != mask.size:
            raise ValueError(f"{image_path.name} and {mask_path.name} differ in size.")
        factor = LONG_SIDE / max(image.size)
        if factor < 1:
            size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
            image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
            mask = mask.resize(size, Image.Resampling.NEAREST)
        pairs.append(Pair(np.asarray(image), table[np.asarray(mask)]))
    return pairs


def code_weights(labels: Labels, pools: Sequence[Sequence[Pair]]) -> Tensor:
    """Loss weight per code: rare classes count more, by the root of their share, at most 6 times."""
    counts = np.zeros(256)
    for label_set, pool in zip(labels.sets, pools, strict=True):
        sizes = sum((np.bincount(p.codes.ravel()[::7], minlength=256) for p in pool), np.zeros(256))
        counts += label_set.share * sizes / max(1.0, sizes.sum())
    codes = len(labels.allowed)
    share = counts[:codes] / counts[:codes].sum()
    weights = np.sqrt(np.median(share[share > 0]) / np.maximum(share, 1e-6)).clip(0.5, 6.0)
    weights[len(labels.classes) :] = np.minimum(weights[len(labels.classes) :], 1.0)
    return torch.tensor(weights, dtype=torch.float32)
