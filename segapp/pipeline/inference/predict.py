"""From an image to a mask, at the image's own size."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from registry.network import ClassInfo, has_interior
from registry.runtime import LoadedNetwork
from segapp.imaging.class_areas import ClassArea, class_areas
from segapp.imaging.tiling import PASS, finer, fitted
from segapp.pipeline.inference.forward import run, run_both_ways
from segapp.pipeline.inference.guided import guided_strips
from segapp.pipeline.inference.tiles import strips
from segapp.pipeline.inference.upsample import Decision, coarse_map, enlarged, interior_map

Tick = Callable[[float], None]


@dataclass
class Prediction:
    """ids: uint8 H,W class ids; coarse_confidence: uint8 h,w, 255 is certain, half as fine as the logits; timings in
    ms; tiled: seen in tiles; coarse_interior: uint8 h,w, how far inside its object a pixel lies, 255 is the middle,
    where it was asked for and the model has learnt it."""

    ids: np.ndarray
    coarse_confidence: np.ndarray
    timings: dict[str, float] = field(default_factory=dict)
    tiled: bool = False
    coarse_interior: np.ndarray | None = None

    @property
    def confidence(self) -> np.ndarray:
        """uint8 H,W, 255 is certain."""
        return enlarged(self.coarse_confidence, (self.ids.shape[0], self.ids.shape[1]))

    @property
    def interior(self) -> np.ndarray | None:
        """float32 H,W from 0 at an object's border to 1 at its middle, as measurement.objects.find takes it."""
        if self.coarse_interior is None:
            return None
        return interior_map(self.coarse_interior, (self.ids.shape[0], self.ids.shape[1]))


def predict(net: LoadedNetwork, image: np.ndarray, progress: Tick | None = None, interior: bool = False) -> Prediction:
    """Segment an RGB image (uint8 H,W,3) of any size from 1x1 pixel. `progress` is called with 0 to 1.

    `interior`: objects will be counted, so the map that tells touching ones apart is wanted, where the model has one.

    The network sees the whole image with its long side at the spec's input size, as it saw its examples. An image
    far larger than those is also looked at in tiles at the examples' own scale; see `_more_confident`.
    """
    tick = progress or (lambda _: None)
    height, width = image.shape[:2]
    found = _look(net, image, fitted(height, width, net.spec.input_size), PASS, tick, interior)
    spec = net.spec
    again = finer(height, width, spec.input_size, spec.example_side, len(spec.classes))
    if again is not None:
        tile = min(PASS, net.spec.input_size)
        in_tiles = _look(net, image, again, tile, lambda share: tick(0.05 + 0.9 * share), interior)
        for stage, spent in found.timings.items():
            in_tiles.timings[stage] += spent
        found = _more_confident(found, in_tiles)
    tick(1.0)
    return found


def logits_of(net: LoadedNetwork, image: np.ndarray, progress: Tick | None = None) -> Tensor:
    """Logits K,H,W of an image at the size it is given in, float32 on the CPU; in tiles above PASS pixels a side."""
    pieces = strips(partial(run, net), image, PASS, len(net.spec.classes), progress or (lambda _: None))
    return torch.cat([piece for _, piece in pieces], dim=1)


def shares(ids: np.ndarray, classes: Sequence[ClassInfo]) -> list[ClassArea]:
    """How much of a mask (H, W) of class ids each class covers."""
    counts = np.bincount(ids.ravel(), minlength=256)
    return class_areas(classes, [int(counts[one.id]) for one in classes], ids.size)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image at another height and width, bilinear with antialiasing."""
    if image.shape[:2] == size:
        return image
    whole = Image.fromarray(image)
    return np.asarray(whole.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=3.0))


def _look(
    net: LoadedNetwork, image: np.ndarray, size: tuple[int, int], tile: int, tick: Tick, interior: bool
) -> Prediction:
    """The image seen at `size` in passes of at most `tile` pixels a side, and mirrored where the spec asks for that.

    Confidence is the network's own; where classes end, the image's edges may have a say (see guided.py).
    """
    started = time.perf_counter()
    small = resized(image, size)
    prepared = time.perf_counter()
    decision = Decision(net.spec.classes, size, (image.shape[0], image.shape[1]))
    classes, interior = len(net.spec.classes), interior and has_interior(net.module)
    inner: list[np.ndarray] = []
    deciding = 0.0
    passes = partial(run_both_ways if net.spec.mirrored else run, net, interior=interior)
    seen = strips(passes, small, tile, classes + interior, tick)
    for top, strip, logits in guided_strips(seen, small, classes, net.spec.guided):
        began = time.perf_counter()
        decision.add(top, logits, strip[:classes])
        if interior:
            inner.append(coarse_map(top, strip[classes]))
        deciding += time.perf_counter() - began
    ended = time.perf_counter()
    timings = {"prepare": prepared - started, "forward": ended - prepared - deciding, "decide": deciding}
    tiled = max(size) > tile
    in_ms = {stage: spent * 1000 for stage, spent in timings.items()}
    coarse = np.concatenate(inner) if interior else None
    return Prediction(decision.ids, decision.coarse_confidence, in_ms, tiled, coarse)


def _more_confident(whole: Prediction, tiled: Prediction) -> Prediction:
    """Whichever prediction has the higher mean confidence.

    An image larger than the examples shows either the same at a finer resolution (a better camera: the whole view is
    right) or more of it (a scan, a map: tiles are right), and a network is less confident at a scale it was not trained
    at. docs/engine.md has the measurements.
    """
    return tiled if tiled.coarse_confidence.mean() > whole.coarse_confidence.mean() else whole
