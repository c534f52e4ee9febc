"""A network over the frames of one clip: from small images to masks on the clip's own grid."""

import math
import time
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import torch
from torch import Tensor

from registry.network import ClassInfo
from registry.runtime import LoadedNetwork
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.inference.predict import PASS, fitted
from segapp.pipeline.inference.upsample import channels
from segapp.pipeline.video.lanes import Lanes
from segapp.pipeline.video.smoothing import Damper

FINEST_GRID = 1024  # long side of a mask; larger clips get masks in steps of 2, 3, … pixels
GPU_BATCH = 8


class Segmenter:
    """Predicts frames of one size, several at once, and decides them in order. To be closed.

    size: height and width of the images it wants; grid: height and width of the masks it gives, `step` source
    pixels to one of theirs, because edges finer than the network's own input are not in its logits. batch: images
    in one pass that pay; lanes: passes at once.
    """

    def __init__(self, net: LoadedNetwork, height: int, width: int, damping: float) -> None:
        self.net = net
        self.classes: tuple[ClassInfo, ...] = net.spec.classes
        self.size = fitted(height, width, min(net.spec.input_size, PASS))
        self.step = math.ceil(max(height, width) / FINEST_GRID)
        self.grid = (math.ceil(height / self.step), math.ceil(width / self.step))
        self.batch = GPU_BATCH if net.device.type == "cuda" else 1
        self._lanes = Lanes(net.device)
        self.lanes = self._lanes.count
        self._ids = np.array([c.id for c in self.classes], np.uint8)
        self._damper = Damper(damping)

    def begin(self, images: Sequence[np.ndarray]) -> Future[Tensor]:
        """Send images (uint8 `size`,3) off; the result is their logits N,K,h,w."""
        return self._lanes.submit(self._logits, images)

    @torch.inference_mode()
    def decide(self, logits: Tensor, images: Sequence[np.ndarray], cuts: Sequence[bool]) -> list[np.ndarray]:
        """Masks (uint8 of class ids, `grid`) of the next images in order; a cut begins another scene."""
        turns = zip(logits, images, cuts, strict=True)
        return [self._mask(self._damper(one, image, cut)) for one, image, cut in turns]

    @torch.inference_mode()
    def _logits(self, images: Sequence[np.ndarray]) -> Tensor:
        logits = self.net.module(torch.cat([normalised(image, self.net) for image in images]))
        return logits[:, :, : self.size[0], : self.size[1]].float()

    def _mask(self, logits: Tensor) -> np.ndarray:
        return self._ids[channels(logits, *self.grid)]

    def pace(self) -> float:
        """Seconds that one frame takes here, measured; nothing of it is remembered."""
        self._pass_all()  # the first pass warms up
        started = time.perf_counter()
        self._pass_all()
        return (time.perf_counter() - started) / (self.lanes * self.batch)

    @torch.inference_mode()
    def _pass_all(self) -> None:
        blank = [np.zeros((*self.size, 3), np.uint8)] * self.batch
        for coming in [self.begin(blank) for _ in range(self.lanes)]:
            for logits in coming.result():
                self._mask(logits)

    def close(self) -> None:
        self._lanes.close()
