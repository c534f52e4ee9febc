"""From a picture to a mask, at the picture's own size."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from registry.network import ClassInfo
from registry.runtime import LoadedNetwork

STRIDE = 32
TILE_ABOVE = 2.0  # pictures longer than this many input sizes are run in tiles
OVERLAP = 0.25


@dataclass
class Prediction:
    """ids: uint8 H,W class ids; confidence: uint8 H,W, 255 is certain; timings in ms."""

    ids: np.ndarray
    confidence: np.ndarray
    timings: dict[str, float] = field(default_factory=dict)


def predict(
    net: LoadedNetwork,
    image: np.ndarray,
    progress: Callable[[float], None] | None = None,
) -> Prediction:
    """Segment an RGB picture (uint8 H,W,3) of any size from 1x1 pixel.

    The network sees the picture with its long side at the spec's input size.
    """
    started = time.perf_counter()
    height, width = image.shape[:2]
    size = fitted(height, width, net.spec.input_size)
    pixels = normalised(resized(image, size), net)
    prepared = time.perf_counter()
    logits = forward(net, pixels)
    ran = time.perf_counter()
    ids, confidence = decide(logits[0], height, width, net.spec.classes)
    ended = time.perf_counter()
    if progress is not None:
        progress(1.0)
    timings = {
        "prepare": (prepared - started) * 1000,
        "forward": (ran - prepared) * 1000,
        "decide": (ended - ran) * 1000,
    }
    return Prediction(ids, confidence, timings)


def shares(ids: np.ndarray, classes: Sequence[ClassInfo]) -> list[dict[str, Any]]:
    """How much of a mask each class covers: id, name, color, pixels, percent."""
    counts = np.bincount(ids.ravel(), minlength=256)
    return [
        {
            "id": c.id,
            "name": c.name,
            "color": c.color,
            "pixels": int(counts[c.id]),
            "percent": round(100.0 * int(counts[c.id]) / max(1, ids.size), 2),
        }
        for c in classes
    ]


def fitted(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Height and width scaled so that the longer is `long_side`, both at least 1."""
    factor = long_side / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture at another height and width, bilinear with antialiasing."""
    if image.shape[:2] == size:
        return image
    picture = Image.fromarray(image)
    return np.asarray(
        picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=3.0)
    )


def normalised(image: np.ndarray, net: LoadedNetwork) -> Tensor:
    """A picture as 1,3,H,W, channels last, padded by its edge to multiples of 32.

    The padding is remembered by nobody: `forward` crops by the size it is told.
    """
    height, width = image.shape[:2]
    below, right = -height % STRIDE, -width % STRIDE
    padded = np.pad(image, ((0, below), (0, right), (0, 0)), mode="edge")
    tensor = torch.from_numpy(padded).to(net.device).permute(2, 0, 1)[None].float()
    mean = torch.tensor(net.spec.mean, device=net.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(net.spec.std, device=net.device).view(1, 3, 1, 1) * 255
    return ((tensor - mean) / std).contiguous(memory_format=torch.channels_last)
