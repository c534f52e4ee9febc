"""What both ways of training a base share: when to stop, the learning rate, one step, and use in prediction."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from registry.network import Network, Spec
from registry.runtime import LoadedNetwork
from segapp.pipeline.training.optim import optimizer_step

DECODER_RATE = 2e-3
ENCODER_RATE = 2e-4
EMA_DECAY = 0.998
DEFAULT_SECONDS = 1800.0
WARMUP = 0.03  # of the training
COSINE_SHARE = 0.7  # of a half-period, down to a fifth of the rate; docs/engine.md compares with going down to zero

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
        return min(1.0, elapsed / (self.seconds or DEFAULT_SECONDS))


def train_step(optimizer: torch.optim.Optimizer, loss: Tensor, fraction: float) -> float:
    """One step at the learning rate for the `fraction` of the training that is done; returns the loss.

    Raises ArithmeticError when the loss is not finite.
    """
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ArithmeticError("The loss is not a finite number any more. Try another seed.")
    optimizer_step(optimizer, loss, lr_factor(fraction))
    return value


def lr_factor(fraction: float) -> float:
    """A short warm-up, then a cosine down to a fifth."""
    warmup = min(1.0, fraction / WARMUP + 0.02)
    return warmup * (0.5 + 0.5 * math.cos(math.pi * COSINE_SHARE * min(1.0, fraction)))


def as_loaded(spec: Spec, network: Network) -> LoadedNetwork:
    """A network in training, put into eval mode on its own device, as prediction takes it; without a file."""
    device = next(network.parameters()).device
    return LoadedNetwork(spec.base_key, "", spec.base_key, spec, network.eval(), device)
