"""Trains the detail branch: a perceptron on the filter features of single pixels, apart from the network it helps."""

import random
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from registry.detail import DetailBranch, filtered
from registry.runtime import LoadedNetwork
from segapp.pipeline.constants import IGNORE, STRIDE
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.training.features import Prepared, varied

HIDDEN = 32
STEPS = 300
PIXELS = 2048  # a step
RATE = 3e-3
DROPOUT = 0.1
VIEWS = 4  # of an image, the plain one included
MAX_PIXELS = 60_000  # of a view
USUAL = 0.99  # of the plain views' pixels are within the branch's reach
MIN_SPREAD = 1e-4


def train_detail(
    net: LoadedNetwork, prepared: Sequence[Prepared], members: Sequence[int], classes: int, seed: int
) -> DetailBranch | None:
    """A branch for `classes` channels from the labelled pixels of the examples `members`; None where there are none.

    `net` says how images are normalised. The same seed gives the same branch, and torch's random numbers go on as if
    nothing had been drawn.
    """
    cuda = [net.device] if net.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        branch = DetailBranch(classes, HIDDEN).to(net.device)
        features, target, plain = _pixels(net, branch, prepared, members, seed)
        if len(target) == 0:
            return None
        branch.mean.copy_(features.mean(dim=0))
        branch.scale.copy_(1.0 / features.std(dim=0, correction=0).clamp(min=MIN_SPREAD))
        features = (features - branch.mean) * branch.scale
        distance = features[:plain].square().mean(dim=1)
        branch.reach.fill_(float(np.quantile(distance.cpu().numpy(), USUAL)))
        _fit(branch, features, target, classes, seed)
    return branch.eval().requires_grad_(False)


def _fit(branch: DetailBranch, features: Tensor, target: Tensor, classes: int, seed: int) -> None:
    """Cross-entropy on pixels drawn by class, classes by the root of their share."""
    generator = torch.Generator().manual_seed(seed)
    places = [torch.nonzero(target == channel)[:, 0].cpu() for channel in range(classes)]
    share = torch.tensor([len(place) for place in places]).double().sqrt()
    counts = [round(PIXELS * float(part)) for part in share / share.sum()]
    optimizer = torch.optim.AdamW(branch.perceptron.parameters(), lr=RATE)
    first, second, last = (layer for layer in branch.perceptron if isinstance(layer, nn.Conv2d))
    for step in range(STEPS):
        chosen = torch.cat(
            [
                place[torch.randint(len(place), (count,), generator=generator)]
                for place, count in zip(places, counts, strict=True)
                if len(place)
            ]
        ).to(features.device)
        hidden = features[chosen]
        for layer in (first, second):
            hidden = F.linear(hidden, layer.weight[:, :, 0, 0], layer.bias)
            hidden = F.dropout(F.relu(hidden), DROPOUT)
        loss = F.cross_entropy(F.linear(hidden, last.weight[:, :, 0, 0], last.bias), target[chosen])
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _pixels(
    net: LoadedNetwork, branch: DetailBranch, prepared: Sequence[Prepared], members: Sequence[int], seed: int
) -> tuple[Tensor, Tensor, int]:
    """Features (N, CHANNELS) and channels (N) of labelled pixels at stride 2; how many of them, the first, are of plain
    images."""
    features, targets, plain = [], [], 0
    for number in range(VIEWS):
        for member in members:
            rng = random.Random(f"{seed}/{member}/{number}")
            view = varied(prepared[member], number, rng) if number else prepared[member]
            found, target = _labelled(net, branch, view)
            if len(target) > MAX_PIXELS:
                some = torch.from_numpy(
                    np.random.default_rng(rng.getrandbits(32)).permutation(len(target))[:MAX_PIXELS]
                )
                found, target = found[some.to(found.device)], target[some.to(found.device)]
            features.append(found)
            targets.append(target)
            plain += len(target) if number == 0 else 0
    return torch.cat(features), torch.cat(targets), plain


def _labelled(net: LoadedNetwork, branch: DetailBranch, view: Prepared) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        found = filtered(normalised(view.image, net), branch.bank)[0]
    height, width = view.mask.shape
    mask = np.pad(view.mask, ((0, -height % STRIDE), (0, -width % STRIDE)), constant_values=IGNORE)
    target = torch.from_numpy(mask[1::2, 1::2].astype(np.int64)).to(found.device)
    known = target != IGNORE
    return found.permute(1, 2, 0)[known], target[known]
