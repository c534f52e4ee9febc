"""A branch beside the FPN for what its features are too coarse for: texture, thin lines, small things.

Fixed filters at four scales see the image itself, from stride 2 on, and a perceptron answers for every pixel by them
alone. Its logits are added to the FPN's.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FILTERS = 1  # the set of filters below; a model file names the one it was trained with
SIGMA = 0.8  # of the Gaussian that all filters are derivatives of, in pixels of their level
RADIUS = 2
LEVELS = 4  # each sees half of the one before
CHANNELS = 3 + 7 * LEVELS


class DetailBranch(nn.Module):
    """Logits N,K,H,W of normalised images N,3,H,W whose sides are multiples of 32.

    `mean` and `scale` standardise the features; `reach` is how far, in mean squares of them, pixels usually are from
    the mean. The branch says less of pixels that are further off, and nothing beyond twice as far: it has not seen
    such images, and extrapolates badly.
    """

    bank: Tensor
    mean: Tensor
    scale: Tensor
    reach: Tensor

    def __init__(self, classes: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("bank", filter_bank(), persistent=False)
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("scale", torch.ones(CHANNELS))
        self.register_buffer("reach", torch.ones(1))
        self.perceptron = nn.Sequential(
            nn.Conv2d(CHANNELS, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, classes, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits = self.answers(filtered(images, self.bank))
        return F.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)

    def answers(self, features: Tensor) -> Tensor:
        """Logits N,K,h,w of features N,CHANNELS,h,w, by how much the pixels are like those it was trained on."""
        standard = (features - self.mean[:, None, None]) * self.scale[:, None, None]
        familiar = (2.0 - standard.square().mean(dim=1, keepdim=True) / self.reach).clamp(0.0, 1.0)
        logits: Tensor = self.perceptron(standard)
        return logits * familiar


def detail_branch(options: dict[str, Any], classes: int) -> DetailBranch:
    """The branch that a spec describes, freshly initialised. Raises ValueError for filters of a later version."""
    if options["filters"] != FILTERS:
        raise ValueError(f"The detail branch has filters {options['filters']}; this version knows {FILTERS}.")
    return DetailBranch(classes, int(options["hidden"])).eval().requires_grad_(False)


def filter_bank() -> Tensor:
    """8,3,5,5: the Gaussian of each colour, then the first and second derivatives of their mean (x, y, xx, xy, yy)."""
    x = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    blur = torch.exp(-x.square() / (2 * SIGMA**2))
    blur /= blur.sum()
    slope = x * blur
    slope /= (slope * x).sum()
    bend = (x.square() / SIGMA**2 - 1) * blur
    bend -= blur * bend.sum()
    bend /= (bend * x.square()).sum() / 2
    bank = torch.zeros(8, 3, len(x), len(x), dtype=torch.float64)
    for colour in range(3):
        bank[colour, colour] = torch.outer(blur, blur)
    pairs = [(blur, slope), (slope, blur), (blur, bend), (slope, slope), (bend, blur)]
    for number, (down, across) in enumerate(pairs):
        bank[3 + number] = torch.outer(down, across) / 3
    return bank.float()


def filtered(images: Tensor, bank: Tensor) -> Tensor:
    """Features N,CHANNELS,H/2,W/2 of images N,3,H,W: their colours, and at each level what `_level` gives."""
    half = F.avg_pool2d(images, 2)
    parts = [half, _level(images, bank, stride=2), _level(half, bank, stride=1)]
    coarse = half
    for number in range(2, LEVELS):
        coarse = F.avg_pool2d(coarse, 2)
        found = _level(coarse, bank, stride=1)
        parts.append(F.interpolate(found, scale_factor=2.0 ** (number - 1), mode="bilinear", align_corners=False))
    return torch.cat(parts, dim=1)


def _level(images: Tensor, bank: Tensor, stride: int) -> Tensor:
    """N,7,h,w: smoothed colours, the Hessian's eigenvalues and the roots of the structure tensor's."""
    framed = F.pad(images, (RADIUS, RADIUS, RADIUS, RADIUS), mode="replicate")  # zeros would look like edges
    found = F.conv2d(framed, bank, stride=stride)
    colours, x, y = found[:, :3], found[:, 3:4], found[:, 4:5]
    tensor = torch.cat([x * x, x * y, y * y], dim=1)
    tensor = F.avg_pool2d(tensor, 3, stride=1, padding=1, count_include_pad=False)
    hessian = _eigenvalues(found[:, 5:6], found[:, 6:7], found[:, 7:8])
    structure = _eigenvalues(tensor[:, 0:1], tensor[:, 1:2], tensor[:, 2:3])
    return torch.cat([colours, hessian, structure.clamp(min=0.0).sqrt()], dim=1)


def _eigenvalues(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """N,2,h,w: the larger and the smaller eigenvalue of the symmetric matrices [[a, b], [b, c]], each N,1,h,w."""
    middle, spread = (a + c) / 2, (((a - c) / 2).square() + b * b).sqrt()
    return torch.cat([middle + spread, middle - spread], dim=1)
