"""What both ways of training a base share: limits, learning rates, one update, the average, and how it is looked at."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from registry.network import Network, Spec
from registry.runtime import LoadedNetwork

DECODER_RATE = 2e-3
ENCODER_RATE = 2e-4
AVERAGE = 0.998
FALL = 0.7  # of the way down a cosine, to a fifth of the rate; docs/engine.md compares with going down to nothing

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Limit:
    """When to stop: after `steps`, or after `seconds` of training."""

    seconds: float | None
    steps: int | None

    def fraction(self, step: int, elapsed: float) -> float:
        """How much of the training is done, 0 to 1."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, elapsed / (self.seconds or 1800.0))


def optimizer_of(network: nn.Module, parts: Sequence[str]) -> torch.optim.Optimizer:
    """AdamW over parts of a network; the encoder learns ten times slower, norms do not decay."""
    groups = []
    for name in parts:
        rate = ENCODER_RATE if name == "encoder" else DECODER_RATE
        parameters = list(getattr(network, name).requires_grad_(True).parameters())
        for decay, wide in ((1e-2, True), (0.0, False)):
            group = [p for p in parameters if (p.dim() > 1) == wide]
            groups.append({"params": group, "lr": rate, "top": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def update(optimizer: torch.optim.Optimizer, loss: Tensor, done: float) -> float:
    """One step at the rate for the share `done`; returns the loss.

    A short warm-up, then a cosine down to a fifth. Raises ArithmeticError on NaN.
    """
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ArithmeticError("The loss is no number any more. Try another seed.")
    warm = min(1.0, done / 0.03 + 0.02)
    for group in optimizer.param_groups:
        group["lr"] = group["top"] * warm * (0.5 + 0.5 * math.cos(math.pi * FALL * min(1.0, done)))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 5.0)
    optimizer.step()
    return value


def follow(average: nn.Module, network: nn.Module, step: int) -> None:
    """Move the running average a little towards the network; faster in the beginning."""
    keep = min(AVERAGE, (1 + step) / (10 + step))
    with torch.no_grad():
        for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
            slow.lerp_(fast, 1 - keep)


def as_loaded(spec: Spec, network: Network) -> LoadedNetwork:
    """A network in training, in eval mode, as prediction takes it: without a file, where it is."""
    device = next(network.parameters()).device
    return LoadedNetwork(spec.base_key, "", spec.base_key, spec, network.eval(), device)
