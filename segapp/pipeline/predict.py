"""From a picture to a mask, at the picture's own size."""

import hashlib
import math
import threading
import time
from collections import OrderedDict
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
PASS = 1024  # pixels a side that one pass takes at most
OVERLAP = 0.25  # of a tile
BAND_VALUES = 8_000_000  # logits in memory at once while deciding
KEPT = 4  # pictures whose features stay in memory, at most 12 MB each with Lite0

_kept: OrderedDict[tuple[object, ...], tuple[Tensor, ...]] = OrderedDict()
_kept_lock = threading.Lock()


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

    The network sees the picture with its long side at the spec's input size, in
    tiles where that is larger than one pass takes. `progress` hears 0 to 1.
    """
    started = time.perf_counter()
    height, width = image.shape[:2]
    small = resized(image, fitted(height, width, net.spec.input_size))
    prepared = time.perf_counter()
    logits = logits_of(net, small, progress)
    ran = time.perf_counter()
    ids, confidence = decide(logits, height, width, net.spec.classes)
    ended = time.perf_counter()
    if progress is not None:
        progress(1.0)
    timings = {
        "prepare": (prepared - started) * 1000,
        "forward": (ran - prepared) * 1000,
        "decide": (ended - ran) * 1000,
    }
    return Prediction(ids, confidence, timings)


def logits_of(net: LoadedNetwork, image: np.ndarray, progress: Callable[[float], None] | None = None) -> Tensor:
    """Logits K,H,W of a picture at the size it is given in, float32 on the CPU.

    Above PASS pixels a side: tiles that overlap, blended by weights that fade
    towards a tile's border. Only the sums are kept, so memory stays bounded.
    """
    height, width = image.shape[:2]
    rows, cols = _starts(height), _starts(width)
    if len(rows) == len(cols) == 1:
        return _run(net, image)
    total = torch.zeros(len(net.spec.classes), height, width)
    weight = torch.zeros(height, width)
    done = 0
    for top in rows:
        for left in cols:
            tile = image[top : top + PASS, left : left + PASS]
            fade = _fade(tile.shape[0])[:, None] * _fade(tile.shape[1])[None]
            where = np.s_[top : top + tile.shape[0], left : left + tile.shape[1]]
            total[:, *where] += _run(net, tile) * fade
            weight[where] += fade
            done += 1
            if progress is not None:
                progress(0.95 * done / (len(rows) * len(cols)))
    return total.div_(weight)


def decide(logits: Tensor, height: int, width: int, classes: Sequence[ClassInfo]) -> tuple[np.ndarray, np.ndarray]:
    """From logits K,h,w to ids and confidence (uint8 H,W) at the picture's own size.

    Works through bands of rows, so that a large picture with many classes never
    stands in memory as a whole.
    """
    table = np.array([c.id for c in classes], dtype=np.uint8)
    ids = np.empty((height, width), dtype=np.uint8)
    confidence = np.empty((height, width), dtype=np.uint8)
    band = max(1, BAND_VALUES // (len(classes) * width))
    for top in range(0, height, band):
        part = _rows(logits, top, min(height, top + band), height, width)
        best, channel = part.max(dim=0)
        certain = torch.exp(best - torch.logsumexp(part, dim=0))
        ids[top : top + band] = table[channel.numpy()]
        confidence[top : top + band] = (certain * 255).round().to(torch.uint8).numpy()
    return ids, confidence


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
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=3.0))


def normalised(image: np.ndarray, net: LoadedNetwork) -> Tensor:
    """A picture as 1,3,H,W, channels last, padded at its edges to multiples of 32."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="edge")
    tensor = torch.from_numpy(padded).to(net.device).permute(2, 0, 1)[None].float()
    mean = torch.tensor(net.spec.mean, device=net.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(net.spec.std, device=net.device).view(1, 3, 1, 1) * 255
    return ((tensor - mean) / std).contiguous(memory_format=torch.channels_last)


def _run(net: LoadedNetwork, image: np.ndarray) -> Tensor:
    """Logits K,H,W of one pass."""
    height, width = image.shape[:2]
    with torch.inference_mode():
        features = _features(net, image)
        logits = net.module.segmentation_head(net.module.decoder(features))
    return logits[0, :, :height, :width].float().cpu()


def _features(net: LoadedNetwork, image: np.ndarray) -> list[Tensor]:
    """The encoder's features of a picture, kept for a while for other models of the same encoder."""
    if not net.encoder_key:
        return list(net.module.encoder(normalised(image, net))[-4:])
    content = hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()
    key = (net.encoder_key, str(net.device), image.shape, content)
    with _kept_lock:
        features = _kept.get(key)
        if features is not None:
            _kept.move_to_end(key)
            return list(features)
    features = tuple(net.module.encoder(normalised(image, net))[-4:])
    with _kept_lock:
        _kept[key] = features
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return list(features)


def _starts(length: int) -> list[int]:
    """Where tiles begin along a side, so that they overlap and end with it."""
    if length <= PASS:
        return [0]
    count = math.ceil((length - PASS) / (PASS * (1 - OVERLAP))) + 1
    return [round(i * (length - PASS) / (count - 1)) for i in range(count)]


def _fade(length: int) -> Tensor:
    """Weights along a tile's side: one in the middle, falling over the overlap."""
    distance = torch.arange(length).float() + 0.5
    distance = torch.minimum(distance, length - distance)
    return (distance / (PASS * OVERLAP / 2)).clamp(1e-3, 1.0)


def _rows(logits: Tensor, top: int, bottom: int, height: int, width: int) -> Tensor:
    """Rows `top` to `bottom` of logits resized to height x width, bilinear."""
    source = logits.shape[1]
    at = (torch.arange(top, bottom) + 0.5) * source / height - 0.5
    at = at.clamp(0, source - 1)
    above = at.floor().long()
    below = (above + 1).clamp(max=source - 1)
    share = (at - above)[None, :, None]
    rows = logits[:, above] * (1 - share) + logits[:, below] * share
    if rows.shape[2] == width:
        return rows
    return F.interpolate(rows[None], size=(bottom - top, width), mode="bilinear", align_corners=False)[0]
