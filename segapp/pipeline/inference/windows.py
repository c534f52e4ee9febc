"""Predicting an image that is too large for memory: windows read, tiles predicted, class ids written to a file.

Peak memory does not grow with the image's height: one row of tiles of logits, and what a window takes.
"""

import mmap
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from registry.network import has_interior
from registry.runtime import LoadedNetwork
from segapp.imaging.tiling import PASS, fitted, in_parts
from segapp.pipeline.inference.forward import run
from segapp.pipeline.inference.guided import guided
from segapp.pipeline.inference.tiles import strips
from segapp.pipeline.inference.upsample import Decision, coarse_map, enlarged, interior_map

PREVIEW = 2048  # pixels of the longer side

Read = Callable[[int, int, int, int], np.ndarray]


@dataclass
class LargePrediction:
    """ids: uint8 H,W of class ids, in a file that goes with it. preview: the image, uint8 h,w,3, small, and coarse
    confidence uint8; pixels: of each class id, int64 (256); coarse_interior as inference.Prediction has it."""

    ids: np.ndarray
    preview: np.ndarray
    coarse_confidence: np.ndarray
    pixels: np.ndarray
    coarse_interior: np.ndarray | None = None

    def interior_rows(self, first: int, last: int) -> np.ndarray:
        """float32 rows,W of 0 to 1: some rows of the map that tells touching objects apart."""
        assert self.coarse_interior is not None
        return interior_map(self.coarse_interior, self._size, (first, last))

    def confidence_rows(self, first: int, last: int) -> np.ndarray:
        """uint8 rows,W, 255 is certain."""
        return enlarged(self.coarse_confidence, self._size, (first, last))

    @property
    def _size(self) -> tuple[int, int]:
        return self.ids.shape[0], self.ids.shape[1]


def predict_windows(
    net: LoadedNetwork,
    read: Read,
    size: tuple[int, int],
    scratch: Path,
    progress: Callable[[float], None],
    interior: bool = False,
) -> LargePrediction:
    """Segment an image of `size` (height, width) that `read(top, left, height, width)` gives in parts, uint8 (h,w,3).

    It is seen in tiles at the scale of the model's examples, or at its own where that is unknown, and never mirrored.
    Borders are moved to the image's edges within each tile, so that no row is read twice; confidence is that of the
    result.
    `scratch` is a folder with room for one byte a pixel. `progress` is called with 0 to 1, and may raise to end it.
    `interior` as for predict.
    """
    height, width = size
    spec = net.spec
    tile = min(PASS, spec.input_size)
    small = in_parts(height, width, spec.input_size, spec.example_side, len(spec.classes))
    image = _Scaled(read, size, small)
    with tempfile.TemporaryFile(dir=scratch) as file:
        file.truncate(height * width)
        ids = np.memmap(file, np.uint8, "r+", shape=size)
    decision = Decision(spec.classes, small, size)
    decision.ids = ids
    interior = interior and has_interior(net.module)
    inner, several = [], len(spec.classes)

    def one_pass(piece: np.ndarray) -> Tensor:
        return follow_edges(net, piece, run(net, piece, interior))

    for top, strip in strips(one_pass, image, tile, several + interior, progress):  # type: ignore[arg-type]
        decision.add(top, strip[:several])
        if interior:
            inner.append(coarse_map(top, strip[several]))
        _give_back(ids)
    pixels = np.zeros(256, np.int64)
    for top in range(0, height, 1024):
        pixels += np.bincount(ids[top : top + 1024].ravel(), minlength=256)
        _give_back(ids)
    coarse = np.concatenate(inner) if inner else None
    return LargePrediction(ids, image.preview, decision.coarse_confidence, pixels, coarse)


def follow_edges(net: LoadedNetwork, image: np.ndarray, found: Tensor) -> Tensor:
    """What `run` gave for an image, the borders of classes moved to the image's edges as far as the spec asks for."""
    if not net.spec.guided:
        return found
    classes = len(net.spec.classes)
    with torch.inference_mode():
        return torch.cat([guided(found[:classes], image, net.spec.guided), found[classes:]])


def _give_back(ids: np.memmap) -> None:
    """Write what changed to the file and let its pages go: they count as this process's memory otherwise."""
    ids.flush()
    ids._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


class _Scaled:
    """An image read in parts that looks like an array of another size: image[top:bottom, left:right]."""

    def __init__(self, read: Read, size: tuple[int, int], small: tuple[int, int]) -> None:
        self._read, self._size, self.shape = read, size, (*small, 3)
        height, width = fitted(*size, min(PREVIEW, max(size)))
        self.preview = np.zeros((height, width, 3), np.uint8)

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        top, bottom = window[0].start, min(window[0].stop, self.shape[0])
        left, right = window[1].start, min(window[1].stop, self.shape[1])
        down, across = self._size[0] / self.shape[0], self._size[1] / self.shape[1]
        y0, x0 = int(top * down), int(left * across)
        y1, x1 = min(self._size[0], int(np.ceil(bottom * down))), min(self._size[1], int(np.ceil(right * across)))
        piece = self._read(y0, x0, y1 - y0, x1 - x0)
        self._show(piece, y0, x0)
        if piece.shape[:2] == (bottom - top, right - left):
            return piece
        box = (left * across - x0, top * down - y0, min(right * across, x1) - x0, min(bottom * down, y1) - y0)
        size = (right - left, bottom - top)
        return np.asarray(Image.fromarray(piece).resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0))

    def _show(self, piece: np.ndarray, top: int, left: int) -> None:
        """Put a part into the preview."""
        height, width = self.preview.shape[:2]
        down, across = height / self._size[0], width / self._size[1]
        y0, x0 = int(top * down), int(left * across)
        y1 = min(height, int(np.ceil((top + piece.shape[0]) * down)))
        x1 = min(width, int(np.ceil((left + piece.shape[1]) * across)))
        if y1 > y0 and x1 > x0:
            part = Image.fromarray(piece).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, reducing_gap=2.0)
            self.preview[y0:y1, x0:x1] = np.asarray(part)
