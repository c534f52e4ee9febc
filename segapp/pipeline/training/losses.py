"""Losses: cross-entropy with Dice, and cross-entropy for partial labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from segapp.pipeline.constants import IGNORE


def partial_loss(logits: Tensor, codes: Tensor, allowed: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy where a pixel may be any of a set of classes.

    logits N,K,H,W; codes N,H,W int64 with IGNORE; allowed codes,K bool says which
    classes each code leaves open; weights per code. A pixel known to be class k costs
    -log p_k, a pixel known not to be X costs -log(1 - p_X), which leaves open
    which of the others it is.
    """
    known = codes != IGNORE
    index = torch.where(known, codes, 0)
    closed = ~allowed[index].permute(0, 3, 1, 2)
    open_ = torch.logsumexp(logits.masked_fill(closed, float("-inf")), dim=1)
    loss = torch.logsumexp(logits, dim=1) - open_
    weight = weights[index] * known
    return (loss * weight).sum() / weight.sum().clamp(min=1.0)


def cross_entropy_dice(
    logits: Tensor, target: Tensor, class_weights: Tensor | None = None, dice: float = 1.0
) -> Tensor:
    """Mean cross-entropy plus `dice` times soft Dice over the classes present.

    logits N,K,H,W; target N,H,W int64 with IGNORE. Finite also where everything is
    ignored or only one class occurs.
    """
    known = target != IGNORE
    if not bool(known.any()):
        return logits.sum() * 0.0
    entropy = F.cross_entropy(logits, target, weight=class_weights, ignore_index=IGNORE)
    if dice == 0.0:
        return entropy
    classes = logits.shape[1]
    truth = F.one_hot(torch.where(known, target, 0), classes).permute(0, 3, 1, 2)
    truth = truth * known[:, None]
    share = torch.softmax(logits, dim=1) * known[:, None]
    both = (share * truth).sum(dim=(0, 2, 3))
    size = share.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    present = truth.sum(dim=(0, 2, 3)) > 0
    soft = 1.0 - (2.0 * both + 1.0) / (size + 1.0)
    return entropy + dice * soft[present].mean()
