"""Initial weights of a training: the base's decoder (or that of the visitor's model), and a fitted head."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from registry.network import ClassInfo, Network, Spec, build
from registry.runtime import LoadedNetwork
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.logistic import L2, fit_logistic
from segapp.pipeline.training.features import EncodedView

STROKES_L2 = 0.05  # penalty on a head that is fitted to strokes alone; docs/engine.md has the measurements
MAX_SAMPLES = 12_000  # pixels that the head is fitted to, divided equally among classes and views


def new_network(root: LoadedNetwork, spec: Spec, head: Callable[[Network], tuple[Tensor, Tensor]]) -> Network:
    """A network of `spec` around the root's encoder, ready to be trained.

    The decoder starts as the root's, and so does the head when the root is a model of the
    same classes; otherwise `head` gives its weight (classes, channels) and bias (classes) for
    that decoder.
    """
    network = build(spec, root.module.encoder)
    network.decoder = _trainable_copy(root.module.decoder)
    if root.spec.classes == spec.classes:
        network.segmentation_head = _trainable_copy(root.module.segmentation_head)
        return network
    weight, bias = head(network.decoder)
    convolution = network.segmentation_head[0]
    convolution.weight = nn.Parameter(weight[:, :, None, None])
    convolution.bias = nn.Parameter(bias)
    return network


def fit_head(
    decoder: Network,
    views: Sequence[EncodedView],
    classes: int,
    seed: int,
    shares: Tensor | None = None,
    l2: float = L2,
) -> tuple[Tensor, Tensor]:
    """Weight (classes, channels) and bias (classes) by logistic regression on decoder features.

    Classes are weighted by the square root of their share of the pixels, or of `shares` (classes) where labels are
    strokes. A class without
    pixels gets a row of zeros and the lowest bias.
    """
    device = next(decoder.parameters()).device
    channels: int = decoder.out_channels
    features, target, counts = sample(decoder, views, classes, seed)
    if len(target) == 0:
        return torch.zeros(classes, channels, device=device), torch.zeros(classes, device=device)
    features, target = features.to(device), target.to(device)
    sampled = torch.bincount(target, minlength=classes).float()
    importance = (counts if shares is None else shares).to(device).sqrt() / sampled.clamp(min=1)
    scale = features.std(dim=0, correction=0).mean().clamp(min=1e-6)
    weight, bias = fit_logistic(features / scale, target, importance / importance.max(), l2=l2)
    absent = sampled == 0
    weight[absent], bias[absent] = 0.0, bias[~absent].min() - 4.0
    return weight / scale, bias


def importance_of(views: Sequence[EncodedView], classes: int) -> Tensor:
    """By how much each class counts in `fit_head`, without `shares`."""
    counts = torch.zeros(classes)
    for view in views:
        target = view.target[view.target != IGNORE].cpu()
        counts += torch.bincount(target.flatten(), minlength=classes).float()
    return counts.sqrt()


def sample(decoder: Network, views: Sequence[EncodedView], classes: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Decoder features (N, channels) of some labelled pixels, their classes, and how many pixels each class has."""
    generator = torch.Generator().manual_seed(seed)
    limit = max(1, MAX_SAMPLES // (classes * len(views)))
    features, targets, counts = [], [], torch.zeros(classes)
    decoder.eval()
    with torch.no_grad():
        for view in views:
            pixels = decoder(list(view.features))[0].flatten(1).T.cpu()
            target = view.target.flatten().cpu()
            counts += torch.bincount(target[target != IGNORE], minlength=classes).float()
            for channel in sorted(view.cells):
                where = torch.nonzero(target == channel)[:, 0]
                where = where[torch.randperm(len(where), generator=generator)[:limit]]
                features.append(pixels[where])
                targets.append(torch.full((len(where),), channel))
    if not features:
        return torch.zeros(0, decoder.out_channels), torch.zeros(0, dtype=torch.long), counts
    return torch.cat(features), torch.cat(targets), counts


def class_weights(views: Sequence[EncodedView], classes: int) -> Tensor:
    """Loss weights: rare classes count more, by the square root of their share, within 1 to 5."""
    counts = torch.zeros(classes)
    for view in views:
        target = view.target[view.target != IGNORE].cpu()
        counts += torch.bincount(target.flatten(), minlength=classes).float()
    share = counts / counts.sum().clamp(min=1)
    weights = (share.max() / share.clamp(min=1e-6)).sqrt().clamp(1.0, 5.0)
    weights[counts == 0] = 1.0
    return weights / weights.mean()


def class_map(root: Sequence[ClassInfo], own: Sequence[ClassInfo]) -> dict[int, int]:
    """Ids of `root` to ids of `own` where the names agree, but for case and blanks."""
    names = {c.name.strip().casefold(): c.id for c in own}
    return {c.id: names[c.name.strip().casefold()] for c in root if c.name.strip().casefold() in names}


def _trainable_copy(module: nn.Module) -> nn.Module:
    """A copy whose parameters are trainable."""
    return copy.deepcopy(module).requires_grad_(True)
