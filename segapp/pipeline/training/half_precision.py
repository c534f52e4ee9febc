"""Half precision for a model's tensors, where its predictions stay the same. Knows nothing of files."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from registry.checkpoint import halve
from registry.runtime import LoadedNetwork, with_base
from segapp.imaging.tiling import PASS, fitted
from segapp.pipeline.inference.forward import run
from segapp.pipeline.inference.predict import resized

MAX_LOGIT_ERROR = 1e-3  # on every image checked
MIN_AGREEMENT = 0.999  # share of the pixels with the same class
MAX_IMAGES = 3  # that are checked
MAX_HALF = 60_000.0


def to_half_precision(
    base: LoadedNetwork, own: LoadedNetwork, tensors: dict[str, Tensor], images: Sequence[np.ndarray]
) -> dict[str, Tensor]:
    """`tensors`, as many of them in half precision as `images` (uint8 H,W,3) allow; `own` is their network,
    with an encoder_key only where its encoder is the base's.

    Tries all of them, then the layers' weights, then the large convolutions alone; without images nothing is converted.
    """
    if not images:
        return tensors
    small = [resized(p, fitted(p.shape[0], p.shape[1], min(PASS, own.spec.input_size))) for p in images[:MAX_IMAGES]]
    expected: dict[int, Tensor] = {}
    for smaller in _candidates(tensors):
        restored = {name: tensor.to(tensors[name].dtype) for name, tensor in smaller.items()}
        module = with_base(base, own.spec, restored)
        other = replace(own, module=module)
        for number, image in enumerate(small):
            if number not in expected:
                expected[number] = run(own, image)
            if not _same(expected[number], run(other, image)):
                break
        else:
            return smaller
    return tensors


def _candidates(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors with fewer and fewer of them in half precision."""
    every = halve(tensors)
    yield every
    yield {name: every[name] if tensor.dim() >= 2 else tensor for name, tensor in tensors.items()}
    large = {name for name, tensor in tensors.items() if tensor.dim() == 4 and tensor.shape[-1] > 1}
    yield {name: every[name] if name in large else tensor for name, tensor in tensors.items()}


def _same(expected: Tensor, predicted: Tensor) -> bool:
    agree = (expected.argmax(dim=0) == predicted.argmax(dim=0)).float().mean()
    return bool((expected - predicted).abs().max() <= MAX_LOGIT_ERROR) and bool(agree >= MIN_AGREEMENT)


def rounded(tensor: Tensor) -> Tensor:
    """A layer's weight as half precision holds it, so that its file can be half as large; others unchanged."""
    fits = tensor.dim() >= 2 and bool((tensor.abs() < MAX_HALF).all())
    return tensor.half().to(tensor.dtype) if fits else tensor
