"""From the encoder's features to logits: an FPN's decoder and head, with the head before the levels' last enlargement.

A 1x1 convolution and bilinear enlargement may change places, up to rounding: each level's share of the logits is made
at its own size, and the few logits are enlarged instead of all channels. Forward and backward that saves several
passes over the largest tensors of a network.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from registry.group_norm import normalised_relu
from registry.interior import interior_features
from registry.network import DetailedFPN, Network, has_interior


def logits_from(
    network: Network, features: Sequence[Tensor], images: Tensor, interior: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Logits N,K,H,W from the encoder's features of normalised images N,3,H,W: what the network itself would give.

    Where `interior` asks for it and the network has such a head, also its map N,1,H,W (see interior.py).
    """
    if not interior or not has_interior(network):
        return _with_detail(network, full_logits(network, features), images), None
    if _headed_early(network):
        levels = _levels(network.decoder, features)
        decoded = torch.cat([*(_enlarged(level) for level in levels[:-1]), levels[-1]], dim=1)
        coarse = _of_levels(network.segmentation_head[0], levels)
    else:
        decoded = network.decoder(list(features))
        coarse = network.segmentation_head[0](decoded)
    logits = _with_detail(network, full_size(network, coarse), images)
    found = network.interior(interior_features(decoded, features))
    return logits, F.interpolate(found, size=logits.shape[-2:], mode="bilinear", align_corners=False)


def full_logits(network: Network, features: Sequence[Tensor]) -> Tensor:
    """Logits N,K,H,W of the FPN alone, at the images' size, of the features of stride 4 to 32."""
    return full_size(network, coarse_logits(network, features))


def full_size(network: Network, logits: Tensor) -> Tensor:
    """Logits N,K,H,W of those at stride 4."""
    _, *rest = network.segmentation_head
    for module in rest:
        logits = module(logits)
    return logits


def coarse_logits(network: Network, features: Sequence[Tensor]) -> Tensor:
    """Logits N,K,h,w at stride 4, of the features of stride 4 to 32: what head[0] gives of the decoder's.

    In training dropout draws the same random numbers as the decoder's own.
    """
    if not _headed_early(network):
        found: Tensor = network.segmentation_head[0](network.decoder(list(features)))
        return found
    return _of_levels(network.segmentation_head[0], _levels(network.decoder, features))


def _headed_early(network: Network) -> bool:
    """Whether head and enlargement may change places: levels that are concatenated, a 1x1 convolution."""
    return bool(network.decoder.merge.policy == "cat" and network.segmentation_head[0].kernel_size == (1, 1))


def _levels(decoder: Network, features: Sequence[Tensor]) -> list[Tensor]:
    """What a decoder concatenates, coarsest first: all but the last at stride 8, still to be enlarged."""
    c2, c3, c4, c5 = features[-4:]
    p5 = decoder.p5(c5)
    p4 = decoder.p4(p5, c4)
    p3 = decoder.p3(p4, c3)
    p2 = decoder.p2(p3, c2)
    levels = [_segmented(block.block, p) for block, p in zip(decoder.seg_blocks, (p5, p4, p3, p2), strict=True)]
    if decoder.dropout.training:
        ones = torch.ones(p2.shape[0], decoder.out_channels, 1, 1, device=p2.device)
        kept = F.dropout2d(ones, decoder.dropout.p, True).chunk(len(levels), dim=1)
        levels = [level * some for level, some in zip(levels, kept, strict=True)]
    return levels


def _of_levels(conv: Network, levels: Sequence[Tensor]) -> Tensor:
    """Logits N,K,h,w at stride 4."""
    weights = conv.weight.chunk(len(levels), dim=1)
    first, *more = (F.conv2d(level, weight) for level, weight in zip(levels[:-1], weights[:-1], strict=True))
    small = sum(more, first)
    logits: Tensor = F.conv2d(levels[-1], weights[-1], conv.bias) + _enlarged(small)
    return logits


def _enlarged(level: Tensor) -> Tensor:
    """Twice as large, as the decoder does it."""
    return F.interpolate(level, scale_factor=2.0, mode="bilinear", align_corners=True)


def _segmented(blocks: Iterable[Network], level: Tensor) -> Tensor:
    """A level's block without the enlargement at its end."""
    *first, last = blocks
    for block in first:
        level = _convolved(block.block, level)
        level = _enlarged(level) if block.upsample else level
    return _convolved(last.block, level)


def _convolved(block: Iterable[Network], level: Tensor) -> Tensor:
    """A 3x3 convolution with normalisation and activation."""
    conv, norm, act = block
    return normalised_relu(conv(level), norm, act)


def _with_detail(network: Network, logits: Tensor, images: Tensor) -> Tensor:
    return logits + network.detail(images) if isinstance(network, DetailedFPN) else logits
