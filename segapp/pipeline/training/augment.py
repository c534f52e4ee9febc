"""Random changes to pairs of image and mask: crops, flips, colours."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segapp.pipeline.constants import IGNORE

CROP_SCALES = (0.6, 1.8)  # of the input size
MIN_VIEW_SIDE, MAX_VIEW_SIDE = 256, 1024  # pixels, of views that differ from their image by more than MILD's scales


@dataclass(frozen=True)
class Pair:
    """An image (uint8 H,W,3) and its codes (uint8 H,W)."""

    image: np.ndarray
    codes: np.ndarray


@dataclass(frozen=True)
class Variation:
    """How far the views of an image may differ from it: scales (lowest, highest), strength of the recolouring, and the
    number of views, the plain one included."""

    scales: tuple[float, float]
    recolor: float
    views: int


MILD = Variation((0.65, 1.3), 0.6, 8)


def strong(input_size: int, views: int) -> Variation:
    """For subjects that are new to the base: new images may show them in another size and light."""
    low, high = MILD.scales
    low = min(low, max(0.5, MIN_VIEW_SIDE / input_size))
    high = max(high, min(1.8, MAX_VIEW_SIDE / input_size))
    return Variation((low, high), 1.0, views)


def random_crop(pair: Pair, side: int, input_size: int, rng: random.Random) -> Pair:
    """A square crop as the network may see it: scaled around its input size, flipped, recoloured."""
    height, width = pair.codes.shape
    low, high = CROP_SCALES
    scale = input_size / max(height, width) * low * (high / low) ** rng.random()
    stretch = 1.15 ** rng.uniform(-1, 1)
    tall, wide = side / scale * stretch, side / scale / stretch
    top = rng.uniform(min(0.0, height - tall), max(0.0, height - tall))
    left = rng.uniform(min(0.0, width - wide), max(0.0, width - wide))
    image, codes = _cut(pair, top, left, tall, wide, side)
    if rng.random() < 0.5:
        image, codes = image[:, ::-1], codes[:, ::-1]
    return Pair(recolor(image, rng), np.ascontiguousarray(codes))


def recolor(image: np.ndarray, rng: random.Random, strength: float = 1.0) -> np.ndarray:
    """Change brightness, contrast, saturation and channel balance a little."""
    pixels = image.astype(np.float32)  # then all in place, which takes a third of the time
    grey = pixels[..., :1] + pixels[..., 1:2]
    grey += pixels[..., 2:]
    grey /= 3
    middle = float(grey.mean())
    pixels -= grey
    pixels *= rng.uniform(1 - 0.4 * strength, 1 + 0.4 * strength)
    pixels += grey
    pixels -= middle
    pixels *= rng.uniform(1 - 0.3 * strength, 1 + 0.3 * strength)
    pixels += middle
    balance = [rng.uniform(1 - 0.1 * strength, 1 + 0.1 * strength) for _ in range(3)]
    pixels *= np.array(balance, dtype=np.float32)
    pixels += rng.uniform(-30 * strength, 30 * strength)
    return pixels.clip(0, 255, out=pixels).astype(np.uint8)


def batch_of(crops: Sequence[Pair], mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Crops as normalised images N,3,S,S (channels last) and codes N,S,S int64."""
    images = torch.from_numpy(np.stack([c.image for c in crops])).permute(0, 3, 1, 2).float()
    shift = torch.tensor(mean).view(1, 3, 1, 1) * 255
    scale = torch.tensor(std).view(1, 3, 1, 1) * 255
    codes = torch.from_numpy(np.stack([c.codes for c in crops])).long()
    return ((images - shift) / scale).contiguous(memory_format=torch.channels_last), codes


def _cut(pair: Pair, top: float, left: float, tall: float, wide: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A box of the pair scaled to side x side; what lies outside is grey and ignored."""
    height, width = pair.codes.shape
    above, below = max(0.0, top), min(float(height), top + tall)
    before, after = max(0.0, left), min(float(width), left + wide)
    rows = _span((above - top) / tall, (below - top) / tall, side)
    cols = _span((before - left) / wide, (after - left) / wide, side)
    size = (cols.stop - cols.start, rows.stop - rows.start)
    box = (before, above, after, below)
    image = np.full((side, side, 3), 127, dtype=np.uint8)
    codes = np.full((side, side), IGNORE, dtype=np.uint8)
    seen = Image.fromarray(pair.image).resize(size, Image.Resampling.BILINEAR, box=box)
    mask = Image.fromarray(pair.codes).resize(size, Image.Resampling.NEAREST, box=box)
    image[rows, cols] = np.asarray(seen)
    codes[rows, cols] = np.asarray(mask)
    return image, codes


def _span(begin: float, end: float, side: int) -> slice:
    """Where a part from `begin` to `end` (0 to 1) lies on `side` pixels; at least one."""
    first = min(round(begin * side), side - 1)
    return slice(first, max(first + 1, round(end * side)))
