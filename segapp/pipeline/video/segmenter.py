"""A network over the frames of one video: from small images to masks on the video's own grid."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from registry.network import ClassInfo
from registry.runtime import LoadedNetwork
from segapp.imaging.tiling import PASS, fitted
from segapp.pipeline.inference.doubt import doubt_of_logits
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.inference.upsample import channels
from segapp.pipeline.video.smoothing import TemporalSmoother

FINEST_GRID = 1024  # long side of a mask; larger videos get masks in steps of 2, 3, … pixels
GPU_BATCH = 8
MAX_PASSES = 4  # at once: each holds its activations in memory

P = ParamSpec("P")
T = TypeVar("T")


class ForwardPool:
    """`count` threads for as many forward passes at once, each on its part of the cores. To be closed.

    The threads of one pass wait for each other after every layer, so whenever decoding or encoding takes a core from
    one of them, all stand still. Passes over different frames do not wait for each other, and no core is idle. Until
    `close`, these threads and the one that made them have torch compute on an equal number of cores each.
    """

    def __init__(self, device: torch.device) -> None:
        self._threads = torch.get_num_threads()
        cores = math.ceil(self._threads / MAX_PASSES) if device.type == "cpu" else self._threads
        self.count = self._threads // cores
        torch.set_num_threads(cores)
        self._pool = ThreadPoolExecutor(
            self.count, thread_name_prefix="forward", initializer=torch.set_num_threads, initargs=(cores,)
        )

    def submit(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> Future[T]:
        return self._pool.submit(call, *args, **named)

    def close(self) -> None:
        """Drop what waits, end the threads, and give torch its usual number of threads back."""
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)


class Segmenter:
    """Predicts frames of one size, several at once, and smooths their masks in order. To be closed.

    size: height and width of the images it wants; grid: height and width of the masks it gives, `step` source
    pixels to one of theirs, because edges finer than the network's own input are not in its logits. batch: images
    in one pass that pay; passes: how many run at once.
    """

    def __init__(self, net: LoadedNetwork, height: int, width: int, damping: float) -> None:
        self.net = net
        self.classes: tuple[ClassInfo, ...] = net.spec.classes
        self.size = fitted(height, width, min(net.spec.input_size, PASS))
        self.step = math.ceil(max(height, width) / FINEST_GRID)
        self.grid = (math.ceil(height / self.step), math.ceil(width / self.step))
        self.batch = GPU_BATCH if net.device.type == "cuda" else 1
        self._pool = ForwardPool(net.device)
        self.passes = self._pool.count
        self._ids = np.array([c.id for c in self.classes], np.uint8)
        self._smoother = TemporalSmoother(damping)

    def submit(self, images: Sequence[np.ndarray]) -> Future[Tensor]:
        """Begin a forward pass over images (uint8 `size`,3); the result is their logits N,K,h,w."""
        return self._pool.submit(self._logits, images)

    @torch.inference_mode()
    def decide(
        self, logits: Tensor, images: Sequence[np.ndarray], cuts: Sequence[bool]
    ) -> list[tuple[np.ndarray, float]]:
        """Masks (uint8 of class ids, `grid`) of the next images in order, each with its doubt; a cut begins another
        scene."""
        frames = zip(logits, images, cuts, strict=True)
        smooth = [self._smoother(one, image, cut) for one, image, cut in frames]
        return [(self._mask(one), doubt_of_logits(one)) for one in smooth]

    @torch.inference_mode()
    def _logits(self, images: Sequence[np.ndarray]) -> Tensor:
        batch = torch.cat([normalised(image, self.net) for image in images])
        logits = self.net.logits(batch)
        return logits[:, :, : self.size[0], : self.size[1]].float()

    def _mask(self, logits: Tensor) -> np.ndarray:
        return self._ids[channels(logits, *self.grid)]

    def pace(self) -> float:
        """Seconds that one frame takes on this machine, measured; the smoother is not touched."""
        self._pass_all()  # the first pass warms up
        started = time.perf_counter()
        self._pass_all()
        return (time.perf_counter() - started) / (self.passes * self.batch)

    @torch.inference_mode()
    def _pass_all(self) -> None:
        blank = [np.zeros((*self.size, 3), np.uint8)] * self.batch
        for coming in [self.submit(blank) for _ in range(self.passes)]:
            for logits in coming.result():
                self._mask(logits)

    def close(self) -> None:
        self._pool.close()
