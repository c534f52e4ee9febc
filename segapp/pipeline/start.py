"""Where a training starts: the base's decoder (or the visitor's own), and a fitted head."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from registry.network import ClassInfo, Network, Spec, build
from registry.runtime import LoadedNetwork
from segapp.pipeline.features import IGNORE, View

SAMPLES = 1500  # pixels per class and view for the head's first fit
RIDGE = 1e-2
SHARPNESS = 4.0  # logits between a class and the others at the start


def new_network(root: LoadedNetwork, spec: Spec, views: Sequence[View], seed: int) -> Network:
    """A network of `spec` around the root's encoder, ready to be trained.

    The decoder starts as the root's. A class that the root knows by id and name keeps
    its row of the head when the root is a model of the same classes; otherwise the
    head is fitted to `views` in closed form.
    """
    network = build(spec, root.module.encoder)
    network.decoder = _own(root.module.decoder)
    if root.spec.classes == spec.classes:
        network.segmentation_head = _own(root.module.segmentation_head)
        return network
    weight, bias = fit_head(network.decoder, views, len(spec.classes), seed)
    convolution = network.segmentation_head[0]
    convolution.weight = nn.Parameter(weight[:, :, None, None])
    convolution.bias = nn.Parameter(bias)
    return network


def fit_head(decoder: Network, views: Sequence[View], classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weight (classes, channels) and bias (classes) by ridge regression on decoder features.

    Every class counts the same, however few its pixels. A class without pixels gets
    a row of zeros and the lowest bias.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = [], []
    decoder.eval()
    with torch.no_grad():
        for view in views:
            pixels = decoder(list(view.features))[0].flatten(1).T
            target = view.target.flatten()
            for channel in sorted(view.cells):
                where = torch.nonzero(target == channel)[:, 0].cpu()
                if len(where) > SAMPLES:
                    where = where[torch.randperm(len(where), generator=generator)[:SAMPLES]]
                inputs.append(pixels[where.to(pixels.device)])
                targets.append(torch.full((len(where),), channel))
    channels: int = decoder.out_channels
    device = next(decoder.parameters()).device
    if not inputs:
        return torch.zeros(classes, channels, device=device), torch.zeros(classes, device=device)
    x, y = torch.cat(inputs).double(), torch.cat(targets).to(device)
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype, device=device)], dim=1)
    counts = torch.bincount(y, minlength=classes).clamp(min=1)
    weight = (1.0 / counts[y].double())[:, None]
    truth = torch.nn.functional.one_hot(y, classes).double()
    gram = x.T @ (x * weight)
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype, device=device)
    solution = torch.linalg.solve(gram + ridge, x.T @ (truth * weight)) * SHARPNESS
    absent = torch.bincount(y, minlength=classes) == 0
    solution[-1, absent] = -SHARPNESS
    return solution[:-1].T.float().contiguous(), solution[-1].float().contiguous()


def class_weights(views: Sequence[View], classes: int) -> Tensor:
    """Loss weights: rare classes count more, by the root of their share, within 1 to 5."""
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


def _own(module: nn.Module) -> nn.Module:
    """A copy to train."""
    return copy.deepcopy(module).requires_grad_(True)
