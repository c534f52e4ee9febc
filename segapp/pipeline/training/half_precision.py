"""Half precision for a model's file, where the model then still says the same. Knows nothing of files."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from registry.checkpoint import halve
from registry.runtime import LoadedNetwork, with_base
from segapp.pipeline.inference.forward import run
from segapp.pipeline.inference.predict import PASS, fitted, resized

LOGITS = 1e-3  # that a logit may be off, on every image looked at
AGREE = 0.999  # of the pixels must have the same class
IMAGES = 3  # that are looked at


def halved(
    base: LoadedNetwork, own: LoadedNetwork, tensors: dict[str, Tensor], images: Sequence[np.ndarray]
) -> dict[str, Tensor]:
    """`tensors`, as many of them in half precision as `images` (uint8 H,W,3) allow; `own` is their network,
    with an encoder_key only where its encoder is the base's.

    Tries all of them, then the convolutions, then the large ones alone; without images nothing is halved.
    """
    if not images:
        return tensors
    small = [resized(p, fitted(p.shape[0], p.shape[1], min(PASS, own.spec.input_size))) for p in images[:IMAGES]]
    truth: dict[int, Tensor] = {}
    for smaller in _choices(tensors):
        restored = {name: tensor.to(tensors[name].dtype) for name, tensor in smaller.items()}
        module = with_base(base, own.spec, restored)
        other = replace(own, module=module)
        for number, image in enumerate(small):
            if number not in truth:
                truth[number] = run(own, image)
            if not _same(truth[number], run(other, image)):
                break
        else:
            return smaller
    return tensors


def _choices(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors with fewer and fewer of them halved."""
    every = halve(tensors)
    yield every
    yield {name: every[name] if tensor.dim() == 4 else tensor for name, tensor in tensors.items()}
    large = {name for name, tensor in tensors.items() if tensor.dim() == 4 and tensor.shape[-1] > 1}
    yield {name: every[name] if name in large else tensor for name, tensor in tensors.items()}


def _same(wanted: Tensor, found: Tensor) -> bool:
    agree = (wanted.argmax(dim=0) == found.argmax(dim=0)).float().mean()
    return bool((wanted - found).abs().max() <= LOGITS) and bool(agree >= AGREE)
