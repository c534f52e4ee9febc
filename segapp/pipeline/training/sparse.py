"""Trainings on strokes. A stroke says what its pixels are. How much of an image a class covers, how large its parts are
and where they end cannot be read from strokes as from whole masks."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from registry.network import Network
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.live import painted_places
from segapp.pipeline.inference.priors import estimated_shares
from segapp.pipeline.training.features import TARGET_STRIDE, EncodedView, Prepared
from segapp.pipeline.training.init import STROKES_L2, fit_head, importance_of

MAX_PAINTED = 0.2  # of all pixels: masks with less are strokes
MAX_RATIO = 5.0  # between the weights of two classes of whole masks, as in init.class_weights


def is_sparse(masks: Sequence[np.ndarray]) -> bool:
    """Whether masks (H,W of channels, 255 unknown) are strokes."""
    painted = sum(int((mask != IGNORE).sum()) for mask in masks)
    return painted < MAX_PAINTED * sum(mask.size for mask in masks)


def broadened(prepared: Prepared, channels: np.ndarray) -> Prepared:
    """The example with strokes on the grid of the targets, so that thin ones are not lost between its places.

    channels: the mask at the image's own size. Only images that were made smaller lose strokes; in others a place that
    is a few pixels wide would take a stroke across its object's edge.
    """
    if prepared.mask.size >= channels.size:
        return prepared
    height, width = prepared.mask.shape
    places = painted_places(channels, (-(-height // TARGET_STRIDE), -(-width // TARGET_STRIDE)))
    mask = places.repeat(TARGET_STRIDE, axis=0).repeat(TARGET_STRIDE, axis=1)
    return Prepared(prepared.image, np.ascontiguousarray(mask[:height, :width]))


def class_shares(decoder: Network, views: Sequence[EncodedView], classes: int, seed: int) -> Tensor:
    """How much of the images each class covers, estimated from a head fitted to the strokes; sums to 1."""
    weight, bias = fit_head(decoder, views, classes, seed, l2=STROKES_L2)
    mass = importance_of(views, classes)
    logits = []
    with torch.no_grad():
        for view in views:
            height, width = (-(-side // TARGET_STRIDE) for side in view.size)
            found = decoder(list(view.features))[0, :, :height, :width].flatten(1).T
            logits.append(F.linear(found, weight, bias).cpu())
    return estimated_shares(torch.cat(logits), mass.cpu())


def stroke_weights(views: Sequence[EncodedView], shares: Tensor) -> Tensor:
    """Loss weights with which strokes count as whole masks of these class shares would: rare classes more, by the root
    of their share; the mean over all painted places is 1."""
    counts = torch.zeros(len(shares))
    for view in views:
        target = view.target[view.target != IGNORE].cpu()
        counts += torch.bincount(target.flatten(), minlength=len(shares)).float()
    painted = counts / counts.sum().clamp(min=1)
    rarity = (shares.max() / shares.clamp(min=1e-6)).sqrt().clamp(1.0, MAX_RATIO)
    weights = rarity * shares / painted.clamp(min=1e-6)
    weights[counts == 0] = 0.0
    return weights / (weights * painted).sum().clamp(min=1e-6)


def stroke_loss(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of the painted places, each weighted by its class whatever else is in the batch.

    logits N,K,H,W; target N,H,W int64 with IGNORE. Without Dice, which would be over strokes only.
    """
    known = (target != IGNORE).sum()
    entropy = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")
    weight = weights[torch.where(target == IGNORE, 0, target)]
    return (entropy * weight).sum() / known.clamp(min=1)
