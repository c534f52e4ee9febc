"""Trains the head that tells touching objects apart, on a network that is trained already and stays as it is."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import scipy  # its parts are loaded where they are first used
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from registry.interior import STRIDE as GRID
from registry.interior import InteriorHead, interior_features
from registry.runtime import LoadedNetwork
from segapp.pipeline.constants import IGNORE, STRIDE
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.training.augment import MILD
from segapp.pipeline.training.features import FeatureCache, Prepared, features_for, varied, varied_labels

HIDDEN = 32
STEPS = 150
FOLD_STEPS = 75  # of a head of the cross-validation
BATCH = 4
CROP = 48  # places of the map a side
RATE = 4e-3
VIEWS = 4  # of an image, the plain one included
MAX_BYTES = 256 << 20  # of the features of all views
INSIDE = 1.0  # added weight of pixels of objects
MIN_SPREAD = 1e-4


@dataclass(frozen=True)
class Data:
    """Examples at the network's size, their object numbers as `numbers_like` gives them, and which to learn from.

    features: cached views of `prepared`, of a network whose encoder differs from the trained one's in its deepest stage
    at most; without it the views are encoded here.
    """

    prepared: Sequence[Prepared]
    instances: Sequence[np.ndarray | None]
    members: Sequence[int]
    features: FeatureCache | None = None


def train_interior(
    net: LoadedNetwork, data: Data, seed: int, steps: int = STEPS, tick: Callable[[], None] = lambda: None
) -> InteriorHead | None:
    """A head for `net` from some examples; None where none of them has object numbers. `tick` is called often.

    The network is not changed. The same seed gives the same head, and torch's random numbers go on as if nothing had
    been drawn.
    """
    numbered = [i for i in data.members if data.instances[i] is not None]
    if not numbered:
        return None
    cuda = [net.device] if net.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        views = _views(net, data, numbered, seed, tick)
        head = InteriorHead(views[0][0].shape[1], HIDDEN).to(net.device)
        _standardise(head, [features for features, _, _ in views])
        _fit(head, views, seed, steps, tick)
    return head.eval().requires_grad_(False)


def numbers_like(prepared: Prepared, instances: np.ndarray | None) -> np.ndarray | None:
    """Object numbers (H,W of any size) as int32 at the size of a prepared example; None where there are none."""
    if instances is None or not instances.any():
        return None
    height, width = prepared.mask.shape
    whole = Image.fromarray(instances.astype(np.int32))
    return np.asarray(whole.resize((width, height), Image.Resampling.NEAREST))


def target_of(instances: np.ndarray) -> np.ndarray:
    """float32 H,W: how far inside its object each pixel is, of the object's own middle; 0 between objects."""
    found = np.zeros(instances.shape, np.float32)
    for number, box in enumerate(scipy.ndimage.find_objects(instances), 1):
        if box is None:
            continue
        inside = np.pad((instances[box] == number).astype(np.uint8), 1)
        distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        np.maximum(found[box], distance / max(1.0, float(distance.max())), out=found[box])
    return found


View = tuple[Tensor, Tensor, Tensor]  # features 1,C,h,w; the map's target h,w; bool h,w: is it known there?


def _views(net: LoadedNetwork, data: Data, members: Sequence[int], seed: int, tick: Callable[[], None]) -> list[View]:
    """Views of the examples, plain ones first, as many as MAX_BYTES allows."""
    found: list[View] = []
    variation = MILD if data.features is None else data.features.variation
    for number in range(VIEWS if data.features is None else min(VIEWS, data.features.per_example)):
        for member in members:
            tick()
            prepared, numbers = data.prepared[member], data.instances[member]
            assert numbers is not None
            known = prepared.mask != IGNORE
            rng = f"{seed if data.features is None else data.features.seed}/{member}/{number}"  # FeatureCache's
            if number:
                numbers = varied_labels(numbers, number, random.Random(rng), variation)
                known = varied_labels(known.view(np.uint8), number, random.Random(rng), variation) > 0
            with torch.no_grad():
                if data.features is not None:
                    features = features_for(net.module, data.features.get(member, number))
                else:
                    image = varied(prepared, number, random.Random(rng)).image if number else prepared.image
                    features = list(net.module.encoder(normalised(image, net)))
            found.append(_view(net, features, numbers, known))
            if found[0][0].numel() * 2 * (len(found) + 1) > MAX_BYTES:
                return found
    return found


def _view(net: LoadedNetwork, features: list[Tensor], instances: np.ndarray, known: np.ndarray) -> View:
    with torch.no_grad():
        seen = interior_features(net.module.decoder(features[-4:]), features)
    below, right = -instances.shape[0] % STRIDE, -instances.shape[1] % STRIDE
    inner = np.pad(target_of(instances), ((0, below), (0, right)))
    known = np.pad(known, ((0, below), (0, right)))
    target = F.avg_pool2d(torch.from_numpy(inner)[None, None], GRID)[0, 0]
    certain = torch.from_numpy(known[GRID // 2 :: GRID, GRID // 2 :: GRID].copy())
    return seen.half(), target.to(net.device), certain.to(net.device)


def _standardise(head: InteriorHead, features: Sequence[Tensor]) -> None:
    pixels = torch.cat([found[0].flatten(1)[:, ::7].float() for found in features], dim=1)
    head.mean.copy_(pixels.mean(dim=1))
    head.scale.copy_(1.0 / pixels.std(dim=1, correction=0).clamp(min=MIN_SPREAD))


def _fit(head: InteriorHead, views: Sequence[View], seed: int, steps: int, tick: Callable[[], None]) -> None:
    """Cross-entropy with the soft target on random crops, mirrored at random."""
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE)
    for step in range(steps):
        tick()
        crops = [_crop(views[rng.randrange(len(views))], rng) for _ in range(BATCH)]
        tall, wide = (min(crop[1].shape[axis] for crop in crops) for axis in (0, 1))
        features = torch.cat([crop[0][:, :, :tall, :wide].float() for crop in crops])
        target = torch.stack([crop[1][:tall, :wide] for crop in crops])
        known = torch.stack([crop[2][:tall, :wide] for crop in crops])
        logits = head.logits(features)[:, 0]
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        weight = known * (1.0 + INSIDE * (target > 0))
        loss = (loss * weight).sum() / weight.sum().clamp(min=1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _crop(view: View, rng: random.Random) -> View:
    """At most CROP places a side."""
    features, target, known = view
    height, width = target.shape
    top, left = rng.randint(0, max(0, height - CROP)), rng.randint(0, max(0, width - CROP))
    rows, columns = slice(top, top + CROP), slice(left, left + CROP)
    axes = [axis for axis in (0, 1) if rng.random() < 0.5]
    part = features[:, :, rows, columns], target[rows, columns], known[rows, columns]
    if axes:
        return tuple(tensor.flip([axis + tensor.dim() - 2 for axis in axes]) for tensor in part)  # type: ignore
    return part
