"""A live head as a network of its own: decoder and head of the FPN, and a detail branch, as a model file holds them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from registry.detail import CHANNELS, FILTERS, DetailBranch
from registry.network import ClassInfo, Spec
from registry.runtime import LoadedNetwork
from segapp.pipeline.inference.live import LiveHead

HIDDEN = 2 * CHANNELS  # of the branch's perceptron, which passes each feature's positive and negative part on


def live_network(
    net: LoadedNetwork, head: LiveHead, classes: Sequence[ClassInfo], example_side: int
) -> tuple[Spec, dict[str, Tensor]]:
    """Spec and tensors of the network that answers as `head` on features of `net`, by state-dict name.

    `classes` holds the head's ids, in any order. The encoder's tensors are not among them.
    """
    rows = {one.id: one for one in classes}
    spec = replace(
        net.spec,
        classes=tuple(rows[one] for one in head.ids),
        example_side=example_side,
        detail={"filters": FILTERS, "hidden": HIDDEN},
        mirrored=False,
        guided=0,
    )
    tensors = {f"decoder.{name}": tensor for name, tensor in net.module.decoder.state_dict().items()}
    tensors["segmentation_head.0.weight"] = head.deep[:, :, None, None]
    tensors["segmentation_head.0.bias"] = head.bias
    tensors |= {f"detail.{name}": tensor for name, tensor in branch_of(head).state_dict().items()}
    return spec, {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def branch_of(head: LiveHead) -> DetailBranch:
    """The detail branch whose logits are the head's on filter features: relu(x) - relu(-x) is x."""
    branch = DetailBranch(len(head.ids), HIDDEN)
    first, second, last = (layer for layer in branch.perceptron if isinstance(layer, nn.Conv2d))
    one = torch.eye(CHANNELS)
    with torch.no_grad():
        branch.mean.copy_(head.mean)
        branch.scale.copy_(head.scale)
        branch.reach.fill_(head.reach)
        first.weight.copy_(torch.cat([one, -one])[:, :, None, None])
        second.weight.copy_(torch.eye(HIDDEN)[:, :, None, None])
        last.weight.copy_(torch.cat([head.detail, -head.detail], dim=1).cpu()[:, :, None, None])
        for layer in (first, second, last):
            assert layer.bias is not None
            layer.bias.zero_()
    return branch.eval().requires_grad_(False)
