"""One pass of a network over an image, and the encoder's features, kept for a while.

Two models of one encoder on the same image cost one encoder and two decoders; where a model has a deepest stage of its
own, that too.
"""

import hashlib
import threading
from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from registry.decoding import logits_from
from registry.network import own_bytes
from registry.runtime import LoadedNetwork
from registry.stages import deepest_stage, run_stage
from segapp.pipeline.constants import STRIDE

KEPT_BYTES = 48 << 20  # of features in memory: some five images at 512 pixels, or one at 1024

Key = tuple[object, ...]

_allowed = KEPT_BYTES  # less where networks have little room themselves
_kept: OrderedDict[Key, tuple[Tensor, ...]] = OrderedDict()
_kept_lock = threading.Lock()


def normalised(image: np.ndarray, net: LoadedNetwork) -> Tensor:
    """An image as 1,3,H,W, channels last, padded at its edges to multiples of 32."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="edge")
    tensor = torch.from_numpy(padded).to(net.device).permute(2, 0, 1)[None].float()
    mean = torch.tensor(net.spec.mean, device=net.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(net.spec.std, device=net.device).view(1, 3, 1, 1) * 255
    return tensor.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def run(net: LoadedNetwork, image: np.ndarray, interior: bool = False) -> Tensor:
    """Logits K,H,W of one pass, float32 on the CPU.

    With `interior`, for a network that has such a head, its map is one more channel behind them.
    """
    height, width = image.shape[:2]
    with torch.inference_mode():
        images = normalised(image, net)
        logits, inner = logits_from(net.module, _features(net, image, images), images, interior)
        found = logits if inner is None else torch.cat([logits, inner], dim=1)
    return found[0, :, :height, :width].float().cpu()


def run_both_ways(net: LoadedNetwork, image: np.ndarray, interior: bool = False) -> Tensor:
    """The mean of what `run` gives for an image and, mirrored back, for its mirror image."""
    mirrored = run(net, np.ascontiguousarray(image[:, ::-1]), interior)
    return (run(net, image, interior) + mirrored.flip(-1)) / 2


def keep_at_most(allowed: int) -> int:
    """From the next look on, keep features of at most so many bytes, and never more than KEPT_BYTES; returns which."""
    global _allowed
    _allowed = min(KEPT_BYTES, allowed)
    return _allowed


def forget() -> None:
    """Drop all features that are kept."""
    with _kept_lock:
        _kept.clear()


def kept_bytes() -> int:
    with _kept_lock:
        return sum(own_bytes(features) for features in _kept.values())


def _features(net: LoadedNetwork, image: np.ndarray, images: Tensor) -> list[Tensor]:
    """What the decoder takes: the encoder's last four features, from memory where they are.

    Those up to stride 16 serve every network that shares so much of its encoder, the deepest only those that share all.
    """
    shallow_key = net.shallow_key or net.encoder_key
    if not shallow_key:
        return net.features(images)
    place = (str(net.device), image.shape, hashlib.sha256(np.ascontiguousarray(image).data).hexdigest())
    one, two = (shallow_key, "shallow", *place), (net.encoder_key, "deep", *place)
    shallow, deep = _recall(one), _recall(two) if net.encoder_key else None
    stage = deepest_stage(net.module.encoder)
    if shallow is not None and deep is None and stage:
        deep = (run_stage(stage.values(), shallow[-1]),)
    elif shallow is None or deep is None:
        features = tuple(net.features(images))
        shallow, deep = features[:-1], features[-1:]
    if own_bytes([*shallow, *deep]) <= min(KEPT_BYTES, _allowed):  # else it would push out all others, and then itself
        _keep(one, shallow)
        if net.encoder_key:
            _keep(two, deep)
    return [*shallow, *deep]


def _recall(key: Key) -> tuple[Tensor, ...] | None:
    with _kept_lock:
        features = _kept.get(key)
        if features is not None:
            _kept.move_to_end(key)
        return features


def _keep(key: Key, features: tuple[Tensor, ...]) -> None:
    most = min(KEPT_BYTES, _allowed)
    with _kept_lock:
        _kept[key] = features
        total = sum(own_bytes(each) for each in _kept.values())
        while total > most:
            _, gone = _kept.popitem(last=False)
            total -= own_bytes(gone)
