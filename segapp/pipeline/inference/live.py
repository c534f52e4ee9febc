"""Answers while a visitor paints: features of images kept in memory, a classifier fitted to strokes in a moment.

The classifier is linear on the decoder's features and on those of the detail branch's filters, so that what it learnt
can be stored as a head and a detail branch of the same network. Knows nothing of rows, files or requests.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from registry.cache import Loaded, NetworkCache
from registry.detail import filter_bank, filtered
from registry.network import own_bytes
from registry.runtime import LoadedNetwork
from segapp.imaging.tiling import fitted
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.inference.logistic import fit_logistic
from segapp.pipeline.inference.predict import resized
from segapp.pipeline.inference.priors import estimated_shares

GRID = 2  # pixels of the network's input between two places that are learnt from and answered for
MAX_PER_CLASS = 400  # places of one class of one image that are learnt from
MAX_SAMPLES = 6000  # places of all images together
ANYWHERE = 400  # places of an image from which the shares of the classes are estimated
FAR = 10.0  # mean square of an image's mean filter features, in standard deviations: beyond it they count less
MAX_SHIFT = 0.25  # of a class's logit towards its estimated share
L2 = 0.1  # penalty on the head's weights; docs/interactive.md has the measurements
DETAIL_SHARE = 0.58  # how much filter features count beside decoder features: as under three times the penalty
USUAL = 0.99  # of the painted places are within the filter features' reach
MIN_SPREAD = 1e-4
ITERATIONS = 40  # of the fit, at most


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
    """Features (N, C) and (N, D) of painted places and their class ids (N); the same features (M, C) and (M, D) of
    places all over the image, painted or not; how many places each class has (256); mean and standard deviation (D) of
    the filter features of the whole image."""

    deep: Tensor
    detail: Tensor
    ids: Tensor
    any_deep: Tensor
    any_detail: Tensor
    counts: Tensor
    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class LiveHead:
    """Logits of `ids`, in this order: weights (K, C) on decoder features, (K, D) on standardised filter features, and
    bias (K).

    `mean`, `scale` (D) and `reach` standardise and weigh the filter features as those of registry.detail.
    """

    ids: tuple[int, ...]
    deep: Tensor
    detail: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor
    reach: float


def image_features(net: LoadedNetwork, image: np.ndarray) -> ImageFeatures:
    """Run encoder, decoder and filters on an image (uint8 H,W,3) at the network's input size."""
    height, width = fitted(image.shape[0], image.shape[1], net.spec.input_size)
    with torch.no_grad():
        images = normalised(resized(image, (height, width)), net)
        deep = net.module.decoder(net.features(images))
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
        parts = [found.deep, found.detail, found.ids, found.any_deep, found.any_detail]
        return Loaded(found, own_bytes(parts))

    with cache.use((net.sha256, net.spec.input_size, image.key, image.stamp), load) as samples:
        return samples


def sampled(features: ImageFeatures, labels: np.ndarray) -> Samples:
    """Features of painted places, at most MAX_PER_CLASS of each class, always the same ones."""
    places = painted_places(labels, features.size)
    counts = np.bincount(places.ravel(), minlength=256)
    rng = np.random.default_rng(0)
    found_at, ids = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for value in np.flatnonzero(counts[:IGNORE]):
        found = np.flatnonzero(places == value)
        if len(found) > MAX_PER_CLASS:
            found = rng.choice(found, MAX_PER_CLASS, replace=False)
        found_at.append(found)
        ids.append(np.full(len(found), value))
    y, x = np.divmod(np.concatenate(found_at), features.size[1])
    deep, detail = _gathered(features, torch.from_numpy(y), torch.from_numpy(x))
    step = math.ceil(math.sqrt(features.size[0] * features.size[1] / ANYWHERE))
    rows, columns = (torch.arange(step // 2, side, step) for side in features.size)
    any_deep, any_detail = _gathered(features, rows.repeat_interleave(len(columns)), columns.repeat(len(rows)))
    device = deep.device
    return Samples(
        deep,
        detail,
        torch.from_numpy(np.concatenate(ids)).to(device),
        any_deep,
        any_detail,
        torch.from_numpy(counts).to(device),
        features.mean,
        features.std,
    )


def painted_places(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels (uint8 H,W) on a grid of `size`: a place has a painted pixel's class, whichever is last, else 255."""
    grid = np.full(size, IGNORE, np.uint8)
    y, x = np.nonzero(labels != IGNORE)
    grid[y * size[0] // labels.shape[0], x * size[1] // labels.shape[1]] = labels[y, x]
    return grid


def _gathered(features: ImageFeatures, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Decoder features, interpolated between the places of their own coarser grid, and filter features."""
    y, x = y.to(features.deep.device), x.to(features.deep.device)
    height, width = features.detail.shape[-2:]
    where = torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=1).float() * 2 - 1
    deep = F.grid_sample(
        features.deep.float(), where[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return deep[0, :, 0].T.contiguous(), features.detail[0][:, y, x].float().T.contiguous()


def fit(samples: Sequence[Samples], start: LiveHead | None = None) -> LiveHead | None:
    """The head that fits the strokes of all images; None when they are of fewer than two classes.

    `start`: a head that was fitted to some of them, which makes it quicker.
    """
    used = [_thinned(one, len(samples)) for one in samples if len(one.ids)]
    if not used:
        return None
    ids = torch.cat([one.ids for one in used])
    classes, target = torch.unique(ids, return_inverse=True)
    if len(classes) < 2:
        return None
    deep, detail = torch.cat([one.deep for one in used]), torch.cat([one.detail for one in used])
    mean = torch.stack([one.mean for one in used]).mean(dim=0)
    scale = 1 / torch.stack([one.std for one in used]).mean(dim=0).clamp(min=MIN_SPREAD)
    standard = (detail - mean) * scale
    distance = standard.square().mean(dim=1)
    reach = float(torch.quantile(distance, USUAL).clamp(min=MIN_SPREAD))
    unit = 1 / deep.std(dim=0, correction=0).mean().clamp(min=1e-6)
    filters = standard * (familiar(distance, reach) * DETAIL_SHARE)[:, None]
    painted = torch.stack([one.counts for one in used]).sum(dim=0)[classes]
    importance = (painted / torch.bincount(target)).sqrt()
    known = tuple(int(one) for one in classes)
    begin = None
    if start is not None and start.ids == known and start.deep.shape[1] == deep.shape[1]:
        begin = torch.cat([start.deep / unit, start.detail / DETAIL_SHARE], dim=1), start.bias
    weight, bias = fit_logistic(
        torch.cat([deep * unit, filters], dim=1),
        target,
        importance / importance.mean(),
        l2=L2,
        start=begin,
        iterations=ITERATIONS,
    )
    channels = deep.shape[1]
    head = LiveHead(known, weight[:, :channels] * unit, weight[:, channels:] * DETAIL_SHARE, bias, mean, scale, reach)
    return _with_shares(head, used, torch.bincount(target) * importance)


def _with_shares(head: LiveHead, samples: Sequence[Samples], counted: Tensor) -> LiveHead:
    """The head with biases moved towards the classes' shares of the images: strokes are drawn for every class, however
    little it covers. `counted`: how much each class counted in the fit."""
    deep = torch.cat([one.any_deep for one in samples])
    standard = (torch.cat([one.any_detail for one in samples]) - head.mean) * head.scale
    filters = standard * familiar(standard.square().mean(dim=1), head.reach)[:, None]
    logits = F.linear(deep, head.deep, head.bias) + F.linear(filters, head.detail)
    shift = torch.log(estimated_shares(logits, counted) / (counted / counted.sum()))
    return replace(head, bias=head.bias + shift.clamp(-MAX_SHIFT, MAX_SHIFT))


def _thinned(samples: Samples, images: int) -> Samples:
    """At most a share of MAX_SAMPLES, the same part of each class."""
    limit = max(1, MAX_SAMPLES // images)
    if len(samples.ids) <= limit:
        return samples
    step = len(samples.ids) / limit
    kept_ = (torch.arange(limit, device=samples.ids.device) * step).long()
    return replace(samples, deep=samples.deep[kept_], detail=samples.detail[kept_], ids=samples.ids[kept_])


def familiar(distance: Tensor, reach: float) -> Tensor:
    """How much filter features count, 0 to 1, by their mean square; see registry.detail.DetailBranch."""
    return (2.0 - distance / reach).clamp(0.0, 1.0)


def live_logits(features: ImageFeatures, head: LiveHead) -> Tensor:
    """Logits K,h,w on the grid of `features.size`, float32 on the CPU."""
    with torch.no_grad():
        deep = F.conv2d(features.deep.float(), head.deep[:, :, None, None], head.bias)
        standard = (features.detail.float() - head.mean[:, None, None]) * head.scale[:, None, None]
        detail = F.conv2d(standard, head.detail[:, :, None, None])
        detail = detail * familiar(standard.square().mean(dim=1, keepdim=True), head.reach)
        detail = detail * familiar(((features.mean - head.mean) * head.scale).square().mean(), FAR)
        deep = F.interpolate(deep, size=detail.shape[-2:], mode="bilinear", align_corners=False)
        logits = (deep + detail)[0, :, : features.size[0], : features.size[1]]
    return logits.cpu()


def unlike(one: ImageFeatures, others: Sequence[ImageFeatures]) -> float:
    """How far an image is from the nearest of others, 0 to 1: the distance of mean decoder features, over how much
    these vary within the two images. 1 where there are no others."""
    found = 1.0
    mean, spread = _signature(one)
    for other in others:
        other_mean, other_spread = _signature(other)
        found = min(found, float((mean - other_mean).norm() / (spread.norm() + other_spread.norm()).clamp(min=1e-6)))
    return found


def _signature(features: ImageFeatures) -> tuple[Tensor, Tensor]:
    flat = features.deep[0].float().flatten(1)
    return flat.mean(dim=1), flat.std(dim=1, correction=0)
