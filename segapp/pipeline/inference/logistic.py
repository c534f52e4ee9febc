"""Multinomial logistic regression on features of pixels: convex, deterministic, fitted in a fraction of a second."""

import torch
import torch.nn.functional as F
from torch import Tensor

L2 = 1e-2  # penalty on the weights where none is named, for features of unit standard deviation
MAX_ITERATIONS = 60  # of L-BFGS


def fit_logistic(
    features: Tensor,
    target: Tensor,
    importance: Tensor,
    *,
    l2: float = L2,
    start: tuple[Tensor, Tensor] | None = None,
    iterations: int = MAX_ITERATIONS,
    place_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weight (classes, channels) and bias (classes) by L-BFGS, of features (N, channels) and their classes (N).

    `importance`: of each class (classes). `place_weights`: of each place (N) instead, whose sum is 1. `start`: weight
    and bias to begin at; the optimum is the same, found sooner.
    """
    classes, channels = len(importance), features.shape[1]
    weight = torch.zeros(classes, channels, device=features.device)
    bias = torch.zeros(classes, device=features.device)
    if start is not None:
        weight.copy_(start[0])
        bias.copy_(start[1])
    weight.requires_grad_(True)
    bias.requires_grad_(True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = F.linear(features, weight, bias)
        if place_weights is None:
            loss = F.cross_entropy(logits, target, weight=importance)
        else:
            loss = (F.cross_entropy(logits, target, reduction="none") * place_weights).sum()
        loss = loss + l2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return weight.detach(), bias.detach()
