"""A network over the frames of one clip: from small pictures to masks on the clip's own grid."""

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from registry.network import ClassInfo
from registry.runtime import LoadedNetwork
from segapp.pipeline.clip_decide import decide
from segapp.pipeline.clip_smooth import Damper
from segapp.pipeline.passes import normalised
from segapp.pipeline.predict import PASS, fitted

FINEST_GRID = 1024  # long side of a mask; larger clips get masks in steps of 2, 3, … pixels
GPU_BATCH = 8


class Segmenter:
    """Predicts frames of one size in order.

    size: height and width of the pictures it wants; grid: height and width of the masks it gives, `step` source
    pixels to one of theirs, because edges finer than the network's own input are not in its logits.
    """

    def __init__(self, net: LoadedNetwork, height: int, width: int, damping: float) -> None:
        self.net = net
        self.classes: tuple[ClassInfo, ...] = net.spec.classes
        self.size = fitted(height, width, min(net.spec.input_size, PASS))
        self.step = math.ceil(max(height, width) / FINEST_GRID)
        self.grid = (math.ceil(height / self.step), math.ceil(width / self.step))
        self.batch = GPU_BATCH if net.device.type == "cuda" else 1
        self._ids = np.array([c.id for c in self.classes], np.uint8)
        self._damper = Damper(damping)

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[np.ndarray], cuts: Sequence[bool]) -> list[np.ndarray]:
        """Masks (uint8 of class ids, `grid`) of pictures (uint8 `size`,3); a cut begins another scene."""
        logits = self.net.module(torch.cat([normalised(picture, self.net) for picture in pictures]))
        logits = logits[:, :, : self.size[0], : self.size[1]].float()
        return [
            self._decide(self._damper(one, picture, cut))
            for one, picture, cut in zip(logits, pictures, cuts, strict=True)
        ]

    def _decide(self, logits: Tensor) -> np.ndarray:
        return self._ids[decide(logits, *self.grid).cpu().numpy()]

    def pace(self) -> float:
        """Seconds that one frame takes here, measured; nothing of it is remembered."""
        blank = [np.zeros((*self.size, 3), np.uint8)] * self.batch
        damper, self._damper = self._damper, Damper(0)
        try:
            self(blank, [False] * self.batch)  # the first pass warms up
            started = time.perf_counter()
            self(blank, [False] * self.batch)
            return (time.perf_counter() - started) / self.batch
        finally:
            self._damper = damper
