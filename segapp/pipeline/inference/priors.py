"""How much of an image each class covers, estimated from a classifier that was fitted to strokes."""

import torch
from torch import Tensor

ROUNDS = 15
MIN_SHARE = 1e-3


def estimated_shares(logits: Tensor, fitted: Tensor) -> Tensor:
    """Shares of the classes (K) over places with these logits (N,K), by expectation maximisation.

    `fitted`: the shares (K) by which the classes counted in the fit, 0 where a class had no stroke. (Saerens, Latinne
    and Decaestecker, Adjusting the outputs of a classifier to new a priori probabilities, 2002.)
    """
    present = fitted > 0
    begin = fitted[present] / fitted[present].sum()
    seen, shares = logits[:, present], begin.clone()
    for _ in range(ROUNDS):
        likely = torch.softmax(seen + torch.log(shares / begin), dim=1)
        shares = likely.mean(dim=0).clamp(min=MIN_SHARE)
        shares = shares / shares.sum()
    found = torch.zeros_like(fitted)
    found[present] = shares
    return found
