"""Answers while somebody paints: features of images kept in memory, a classifier fitted to strokes in a moment.

The classifier is linear on the decoder's features and on those of the detail branch's filters, so that what it learnt
can be stored as a head and a detail branch of the same network. Knows nothing of rows, files or requests.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from registry.cache import Loaded, NetworkCache
from registry.detail import filter_bank, filtered
from registry.network import own_bytes
from registry.runtime import LoadedNetwork
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.inference.logistic import fit_logistic
from segapp.pipeline.inference.predict import fitted, resized

GRID = 2  # pixels of the network's input between two places that are learnt from and answered for
MAX_PER_CLASS = 400  # places of one class of one image that are learnt from
ITERATIONS = 30  # of the fit


@dataclass(frozen=True)
class ImageFeatures:
    """What is kept of one image: decoder features 1,C,h,w at stride 4 and filter features 1,D,H,W at stride 2, in half
    precision; `size`, height and width of its part of the second grid, without padding; the filters' mean and standard
    deviation (D)."""

    deep: Tensor
    detail: Tensor
    size: tuple[int, int]
    mean: Tensor
    std: Tensor

    @property
    def bytes(self) -> int:
        return own_bytes([self.deep, self.detail, self.mean, self.std])


@dataclass(frozen=True)
class PaintedImage:
    """An image with strokes. `key` changes with the image, `read` gives it as uint8 H,W,3; `labels`, uint8 of any size,
    holds class ids, 255 where nothing is known; `stamp` changes with them."""

    key: Hashable
    read: Callable[[], np.ndarray]
    labels: np.ndarray
    stamp: Hashable


@dataclass(frozen=True)
class Samples:
    """Features (N, C) and (N, D) of painted places, and their class ids (N)."""

    deep: Tensor
    detail: Tensor
    ids: Tensor
    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class LiveHead:
    """Weights (K, C) on decoder features, (K, D) on filter features, and bias (K), for `ids` in this order."""

    ids: tuple[int, ...]
    deep: Tensor
    detail: Tensor
    bias: Tensor


def image_features(net: LoadedNetwork, image: np.ndarray) -> ImageFeatures:
    """Run encoder, decoder and filters on an image (uint8 H,W,3) at the network's input size."""
    height, width = fitted(image.shape[0], image.shape[1], net.spec.input_size)
    with torch.no_grad():
        images = normalised(resized(image, (height, width)), net)
        deep = net.module.decoder(list(net.module.encoder(images)[-4:]))
        detail = filtered(images, filter_bank().to(net.device))
        size = (-(-height // GRID), -(-width // GRID))
        inside = detail[0, :, : size[0], : size[1]].flatten(1)
        mean, std = inside.mean(dim=1), inside.std(dim=1, correction=0)
    return ImageFeatures(deep.half(), detail.half(), size, mean, std)


def kept(cache: NetworkCache, net: LoadedNetwork, key: Hashable, read: Callable[[], np.ndarray]) -> ImageFeatures:
    """The image's features, from the cache where they are."""
    whole = (net.sha256, net.spec.input_size, key)

    def load() -> Loaded:
        found = image_features(net, read())
        return Loaded(found, found.bytes)

    with cache.use(whole, load) as features:
        return features


def samples_of(cache: NetworkCache, net: LoadedNetwork, image: PaintedImage) -> Samples:
    """Features of the painted places of one image, from the cache where they are."""

    def load() -> Loaded:
        found = sampled(kept(cache, net, image.key, image.read), image.labels)
        return Loaded(found, own_bytes([found.deep, found.detail, found.ids]))

    with cache.use((net.sha256, net.spec.input_size, image.key, image.stamp), load) as samples:
        return samples


def sampled(features: ImageFeatures, labels: np.ndarray) -> Samples:
    """Features of painted places, at most MAX_PER_CLASS of each class, always the same ones."""
    places = painted_places(labels, features.size)
    rng = np.random.default_rng(0)
    found_at: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    for value in np.unique(places[places != IGNORE]):
        found = np.flatnonzero(places == value)
        if len(found) > MAX_PER_CLASS:
            found = rng.choice(found, MAX_PER_CLASS, replace=False)
        found_at.append(found)
        ids.append(np.full(len(found), value))
    none = [np.zeros(0, np.int64)]
    y, x = np.divmod(np.concatenate(found_at or none), features.size[1])
    return _gathered(
        features, *(torch.from_numpy(part) for part in (y, x, np.concatenate(ids or none).astype(np.int64)))
    )


def painted_places(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels (uint8 H,W) on a grid of `size`: a place has a painted pixel's class, whichever is last, else 255."""
    grid = np.full(size, IGNORE, np.uint8)
    y, x = np.nonzero(labels != IGNORE)
    grid[y * size[0] // labels.shape[0], x * size[1] // labels.shape[1]] = labels[y, x]
    return grid


def _gathered(features: ImageFeatures, y: Tensor, x: Tensor, ids: Tensor) -> Samples:
    """Decoder features are interpolated between the places of their own, coarser grid."""
    device = features.deep.device
    height, width = features.detail.shape[-2:]
    where = torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=1).to(device).float() * 2 - 1
    deep = F.grid_sample(
        features.deep.float(), where[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    detail = features.detail[0][:, y.to(device), x.to(device)].float()
    return Samples(deep[0, :, 0].T.contiguous(), detail.T.contiguous(), ids.to(device), features.mean, features.std)


def fit(samples: Sequence[Samples], start: LiveHead | None = None) -> LiveHead | None:
    """The head that fits the strokes of all images; None when they are of fewer than two classes."""
    used = [one for one in samples if len(one.ids)]
    ids = torch.cat([one.ids for one in used]) if used else torch.zeros(0, dtype=torch.long)
    classes, target = torch.unique(ids, return_inverse=True)
    if len(classes) < 2:
        return None
    deep, detail = torch.cat([one.deep for one in used]), torch.cat([one.detail for one in used])
    mean = torch.stack([one.mean for one in used]).mean(dim=0)
    std = torch.stack([one.std for one in used]).mean(dim=0).clamp(min=1e-4)
    scale = deep.std(dim=0, correction=0).mean().clamp(min=1e-6)
    features = torch.cat([deep / scale, (detail - mean) / std], dim=1)
    counts = torch.bincount(target).float()
    importance = 1 / counts.sqrt()
    importance = importance / importance.mean()
    weight, bias = fit_logistic(features, target, importance, iterations=ITERATIONS)
    channels = deep.shape[1]
    on_detail = weight[:, channels:] / std
    return LiveHead(
        tuple(int(one) for one in classes), weight[:, :channels] / scale, on_detail, bias - on_detail @ mean
    )


def live_logits(features: ImageFeatures, head: LiveHead) -> Tensor:
    """Logits K,h,w on the grid of `features.size`, float32 on the CPU."""
    with torch.no_grad():
        deep = F.conv2d(features.deep.float(), head.deep[:, :, None, None], head.bias)
        detail = F.conv2d(features.detail.float(), head.detail[:, :, None, None])
        deep = F.interpolate(deep, size=detail.shape[-2:], mode="bilinear", align_corners=False)
        logits = (deep + detail)[0, :, : features.size[0], : features.size[1]]
    return logits.cpu()
