"""One pass of a network over an image, and the encoder's features, kept for a while.

Two models of one encoder on the same image cost one encoder and two decoders.
"""

import hashlib
import threading
from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from registry.network import own_bytes
from registry.runtime import LoadedNetwork
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


def run(net: LoadedNetwork, image: np.ndarray) -> Tensor:
    """Logits K,H,W of one pass, float32 on the CPU."""
    height, width = image.shape[:2]
    with torch.inference_mode():
        features = _features(net, image)
        logits = net.module.segmentation_head(net.module.decoder(features))
    return logits[0, :, :height, :width].float().cpu()


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


def _features(net: LoadedNetwork, image: np.ndarray) -> list[Tensor]:
    """What the decoder takes: the encoder's last four features, from memory where they are."""
    if not net.encoder_key:
        return list(net.module.encoder(normalised(image, net))[-4:])
    content = hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
    key = (net.encoder_key, str(net.device), image.shape, content)
    with _kept_lock:
        features = _kept.get(key)
        if features is not None:
            _kept.move_to_end(key)
            return list(features)
    features = tuple(net.module.encoder(normalised(image, net))[-4:])
    _keep(key, features)
    return list(features)


def _keep(key: Key, features: tuple[Tensor, ...]) -> None:
    most = min(KEPT_BYTES, _allowed)
    if own_bytes(features) > most:  # it would push out all others, and then itself
        return
    with _kept_lock:
        _kept[key] = features
        total = sum(own_bytes(each) for each in _kept.values())
        while total > most:
            _, gone = _kept.popitem(last=False)
            total -= own_bytes(gone)
