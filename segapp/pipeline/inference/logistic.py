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
) -> tuple[Tensor, Tensor]:
    """Weight (classes, channels) and bias (classes) by L-BFGS, of features (N, channels) and their classes (N).

    `importance`: of each class (classes). `start`: weight and bias to begin at; the optimum is the same, found sooner.
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
        loss = F.cross_entropy(F.linear(features, weight, bias), target, weight=importance)
        loss = loss + l2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return weight.detach(), bias.detach()
