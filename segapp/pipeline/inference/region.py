"""A region from clicks: an image's superpixels as a graph, and the part of it that belongs with the clicks.

`walked` is what the paint page uses; `grown` is the simpler way that `bench live` compares it with. Knows nothing of
rows, files or requests.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from PIL import Image
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.sparse.linalg import spsolve
from skimage.color import rgb2lab
from skimage.segmentation import slic

from registry.cache import Loaded, NetworkCache
from registry.runtime import LoadedNetwork
from segapp.pipeline.inference.live import ImageFeatures, kept

SUPERPIXELS = 1500
COMPACTNESS = 8.0
SMOOTHING = 1.0  # of the image before, in places
SMALLEST = 0.25  # of the mean size: superpixels below it join a neighbour
STEP = 0.05  # of a path, for each superpixel, beside the contrast it crosses
LIKENESS = 10.0  # how much being like a clicked place counts beside the path to it
SHARPNESS = 4.0  # of the prior, as a logit
PRIOR = 0.1  # how much it counts beside the walk; docs/interactive.md has the measurements
CLINGING = 1.5  # how quickly a walk gets rarer with contrast
HELD = 1e3  # how firmly a clicked place keeps to its side
MAX_SHARE = 0.7  # of the image that one click proposes
SMALL_SHARE = 0.002  # of the image: regions below it need more contrast


@dataclass(frozen=True)
class RegionGraph:
    """`labels` (H,W int32) numbers the superpixels; of each: `area` in places, `deep` (N,C) and `colour` (N,3)
    features. Neighbours: `first`, `second`, the `length` of their common border and the `contrast` across it, whose
    mean is 2."""

    labels: np.ndarray
    area: np.ndarray
    deep: np.ndarray
    colour: np.ndarray
    first: np.ndarray
    second: np.ndarray
    length: np.ndarray
    contrast: np.ndarray

    @property
    def bytes(self) -> int:
        return sum(part.nbytes for part in vars(self).values())

    def weights(self, values: np.ndarray) -> csr_matrix:
        """A value for each pair of neighbours as a symmetric matrix."""
        size = (len(self.area), len(self.area))
        rows, columns = np.r_[self.first, self.second], np.r_[self.second, self.first]
        return csr_matrix((np.r_[values, values], (rows, columns)), shape=size)


@dataclass(frozen=True)
class Clicks:
    """Superpixels that were clicked: `inside` belong to the region, `outside` do not."""

    inside: list[int]
    outside: list[int]


def region_graph(features: ImageFeatures, image: np.ndarray) -> RegionGraph:
    """The graph of an image (uint8 H,W,3) on the second grid of its features."""
    height, width = features.size
    small = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
    labels = slic(small, SUPERPIXELS, COMPACTNESS, sigma=SMOOTHING, min_size_factor=SMALLEST, start_label=0)
    labels = labels.astype(np.int32)
    deep = F.interpolate(features.deep.float(), size=features.detail.shape[-2:], mode="bilinear", align_corners=False)
    deep_means, area = _means(labels, deep[0, :, :height, :width].cpu().numpy())
    colour_means, _ = _means(labels, rgb2lab(small).transpose(2, 0, 1))
    first, second, length = _neighbours(labels, len(area))
    contrast = np.zeros(len(first), np.float32)
    for means in (deep_means, colour_means):
        across = np.sqrt(np.square(means[first] - means[second]).mean(axis=1))
        contrast += across / max(float(across.mean()) if len(across) else 0.0, 1e-6)
    return RegionGraph(labels, area, deep_means, colour_means, first, second, length, contrast)


def kept_graph(cache: NetworkCache, net: LoadedNetwork, key: Hashable, read: Callable[[], np.ndarray]) -> RegionGraph:
    """The image's graph, from the cache where it is."""

    def load() -> Loaded:
        found = region_graph(kept(cache, net, key, read), read())
        return Loaded(found, found.bytes)

    with cache.use((net.sha256, net.spec.input_size, key, "regions"), load) as graph:
        return graph


def clicked(graph: RegionGraph, clicks: Sequence[tuple[float, float, bool]]) -> Clicks:
    """Clicks (x and y as shares of the image, whether inside) as superpixels; of one place the last counts."""
    height, width = graph.labels.shape
    sides: dict[int, bool] = {}
    for x, y, inside in clicks:
        row, column = min(height - 1, int(y * height)), min(width - 1, int(x * width))
        sides[int(graph.labels[row, column])] = inside
    return Clicks([k for k, inside in sides.items() if inside], [k for k, inside in sides.items() if not inside])


def grown(graph: RegionGraph, clicks: Clicks) -> np.ndarray:
    """Region growing: superpixels (bool N) that are nearer to a click inside than to one outside, along paths and by
    their features. Without a click outside the region ends where the contrast along its border is highest."""
    return _with_clicks(graph, _nearness(graph, clicks) >= 0, clicks)


def walked(graph: RegionGraph, clicks: Clicks) -> np.ndarray:
    """A random walker with the growing as its prior: superpixels (bool N) from which a walk more likely meets a click
    inside (Grady, Random Walks for Image Segmentation, 2006)."""
    prior = 1 / (1 + np.exp(-SHARPNESS * _nearness(graph, clicks)))
    rate = np.exp(-CLINGING * graph.contrast) * graph.length / np.sqrt(graph.area.mean()) + 1e-4
    between = graph.weights(rate)
    held = np.zeros(len(graph.area))
    held[clicks.inside + clicks.outside] = HELD
    side = np.zeros(len(graph.area))
    side[clicks.inside] = 1.0
    leaving = np.asarray(between.sum(axis=1)).ravel()
    found = spsolve((diags(leaving + PRIOR + held) - between).tocsc(), PRIOR * prior + held * side)
    return _with_clicks(graph, found > 0.5, clicks)


def region_mask(graph: RegionGraph, chosen: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The chosen superpixels (bool N) as a mask of `size`, uint8 of 0 and 1; its border is smoothed where it is larger
    than the graph."""
    coarse = Image.fromarray(np.where(chosen[graph.labels], np.uint8(255), np.uint8(0)))
    return (np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BILINEAR)) >= 128).astype(np.uint8)


def _means(labels: np.ndarray, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, C) of planes (C,H,W) within each superpixel, in units of their spread over the image, and areas (N)."""
    flat = labels.ravel()
    area = np.bincount(flat).astype(np.float32)
    centred = planes - planes.mean(axis=(1, 2), keepdims=True)
    centred = centred / max(float(centred.std()), 1e-6)
    found = [np.bincount(flat, plane.ravel()) / np.maximum(area, 1) for plane in centred]
    return np.stack(found, axis=1).astype(np.float32), area


def _neighbours(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    across = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()])
    down = np.stack([labels[:-1].ravel(), labels[1:].ravel()])
    pairs = np.sort(np.concatenate([across, down], axis=1), axis=0).astype(np.int64)
    pairs = pairs[:, pairs[0] != pairs[1]]
    codes, length = np.unique(pairs[0] * count + pairs[1], return_counts=True)
    return codes // count, codes % count, length.astype(np.float32)


def _nearness(graph: RegionGraph, clicks: Clicks) -> np.ndarray:
    """From -1 to 1 for each superpixel: how much nearer it is to the region than to what is outside of it."""
    paths = graph.weights(np.square(graph.contrast) + STEP)
    inner = _distance(graph, paths, clicks.inside)
    if clicks.outside:
        outer = _distance(graph, paths, clicks.outside)
        return (outer - inner) / np.maximum(outer + inner, 1e-6)
    end = max(_contrast_end(graph, inner, float(inner[clicks.inside].max())), 1e-6)
    return np.clip((end - inner) / end, -1, 1)


def _distance(graph: RegionGraph, paths: csr_matrix, places: list[int]) -> np.ndarray:
    along = dijkstra(paths, indices=places, min_only=True)
    unlike = np.full(len(graph.area), np.inf)
    for place in places:
        deep = np.square(graph.deep - graph.deep[place]).mean(axis=1)
        colour = np.square(graph.colour - graph.colour[place]).mean(axis=1)
        unlike = np.minimum(unlike, np.sqrt((deep + colour) / 2))
    return np.where(np.isfinite(along), along, 1e6) + LIKENESS * unlike


def _contrast_end(graph: RegionGraph, distance: np.ndarray, least: float) -> float:
    """The distance, at least `least`, up to which a region has the highest mean contrast along its border."""
    order = np.argsort(distance, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    enters = np.minimum(rank[graph.first], rank[graph.second])  # a pair is on the border from the first of the two
    leaves = np.maximum(rank[graph.first], rank[graph.second])
    crossing = graph.contrast * graph.length
    count = len(order) + 1
    cost = np.cumsum(np.bincount(enters, crossing, count) - np.bincount(leaves, crossing, count))[:-1]
    length = np.cumsum(np.bincount(enters, graph.length, count) - np.bincount(leaves, graph.length, count))[:-1]
    share = np.cumsum(graph.area[order]) / graph.area.sum()
    score = cost / np.maximum(length, 1e-6) * (1 - np.exp(-share / SMALL_SHARE))
    allowed = (distance[order] >= least) & (share < MAX_SHARE)
    if not allowed.any():
        return least
    return float(distance[order][int(np.where(allowed, score, -1.0).argmax())])


def _with_clicks(graph: RegionGraph, chosen: np.ndarray, clicks: Clicks) -> np.ndarray:
    """The parts of the chosen superpixels that hold a click inside, without those clicked outside."""
    chosen = chosen.copy()
    chosen[clicks.inside] = True
    chosen[clicks.outside] = False
    both = chosen[graph.first] & chosen[graph.second]
    _, parts = connected_components(graph.weights(both.astype(np.float32)), directed=False)
    found: np.ndarray = chosen & np.isin(parts, parts[clicks.inside])
    return found
