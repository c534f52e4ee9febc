"""The optimiser and the running average of weights that fine-tuning and the training of bases share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

WEIGHT_DECAY = 1e-2
MAX_GRADIENT_NORM = 5.0


class AdamW(torch.optim.AdamW):
    """torch's own, whose step would import torch's compiler first, which takes seconds."""

    step = torch.no_grad()(torch.optim.AdamW.step.__wrapped__)  # type: ignore[attr-defined]


def adamw(parts: Sequence[tuple[nn.Module, float]]) -> torch.optim.Optimizer:
    """AdamW over (module, learning rate) pairs, all of whose parameters become trainable; norms and biases do not
    decay."""
    groups = []
    for part, rate in parts:
        parameters = list(part.requires_grad_(True).parameters())
        for decay, matrices in ((WEIGHT_DECAY, True), (0.0, False)):
            group = [p for p in parameters if (p.dim() > 1) == matrices]
            groups.append({"params": group, "lr": rate, "max_lr": rate, "weight_decay": decay})
    return AdamW(groups, fused=True)


def optimizer_step(optimizer: torch.optim.Optimizer, loss: Tensor, lr_factor: float) -> None:
    """One update with clipped gradients, every group at `lr_factor` times its full learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["max_lr"] * lr_factor
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for g in optimizer.param_groups for p in g["params"]]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not bool(norm < MAX_GRADIENT_NORM):  # else they would all be multiplied by one
        nn.utils.clip_grads_with_norm_(parameters, MAX_GRADIENT_NORM, norm)
    optimizer.step()


def update_ema(ema: list[Tensor], weights: list[Tensor], step: int, max_decay: float) -> None:
    """Move the exponential moving average of the weights towards them after step `step`, counted from 1.

    The decay rises to `max_decay`, so the average follows faster in the beginning.
    """
    decay = min(max_decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(ema, weights, 1 - decay)
