"""Masks onto frames, in the frame's own colour format: no conversion to RGB and back."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from av.video.frame import VideoFrame

from registry.network import ClassInfo
from segapp.pipeline.video.frames import planes_of

FULL_RANGE = 2
MATRICES = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}  # BT.709 and BT.2020: red's and blue's share of luma
PLAIN_MATRIX = (0.299, 0.114)  # BT.601, what untagged small video is taken for
HD_LINES = 720


class Painter:
    """Colour tables of a set of classes for one video: from class id to Y, U, V, and how strongly it covers."""

    def __init__(
        self, classes: Sequence[ClassInfo], colors: tuple[int, int, int, int], height: int, alpha: float
    ) -> None:
        rgb = np.zeros((256, 3), np.uint8)
        for one in classes:
            rgb[one.id] = list(bytes.fromhex(one.color.removeprefix("#")))
        cover = round(alpha * 256)
        space = colors[0] if colors[0] in (1, 5, 6, 9) else (1 if height >= HD_LINES else 6)
        self.rgb = rgb
        self.yuv = yuv_of(rgb, MATRICES.get(space, PLAIN_MATRIX), colors[1] == FULL_RANGE)
        self._under, self._over = np.uint16(256 - cover), np.uint16(cover)
        self._tables = [bytes(column) for column in self.yuv.T]  # Y, U, V of every class id

    def draw(self, planes: Sequence[np.ndarray], ids: np.ndarray) -> tuple[VideoFrame, VideoFrame]:
        """The frame with the mask over it, and the mask alone, both yuv420p of even size.

        planes: Y, U, V of the upright frame; ids: uint8 H,W. An odd last line or column is repeated once, because
        H.264 in 4:2:0 has even sizes only.
        """
        height, width = ids.shape
        even = (width + width % 2, height + height % 2)
        overlay, mask = VideoFrame(*even, "yuv420p"), VideoFrame(*even, "yuv420p")
        halves = np.ascontiguousarray(ids[::2, ::2])
        for k, (over, alone) in enumerate(zip(planes_of(overlay), planes_of(mask), strict=True)):
            where = ids if k == 0 else halves
            h, w = where.shape
            color = looked_up(where, self._tables[k])
            mixed = planes[k] * self._under  # at most 255 * 256 with what is added: fits 16 bits
            mixed += color * self._over
            mixed >>= 8
            over[:h, :w] = mixed
            alone[:h, :w] = color
            if k == 0:
                extend(over, h, w)
                extend(alone, h, w)
        return overlay, mask


def looked_up(values: np.ndarray, table: bytes) -> np.ndarray:
    """table[value] of every uint8 value; numpy's own way would make a 64-bit index of each first."""
    return np.frombuffer(values.tobytes().translate(table), np.uint8).reshape(values.shape)


def extend(plane: np.ndarray, height: int, width: int) -> None:
    """Repeat the last line and column of what is filled into the rest."""
    plane[:height, width:] = plane[:height, width - 1 : width]
    plane[height:] = plane[height - 1]


def yuv_of(rgb: np.ndarray, matrix: tuple[float, float], full: bool) -> np.ndarray:
    """Colours uint8 N,3 in RGB as uint8 N,3 in Y, Cb, Cr."""
    red, green, blue = (rgb[:, k].astype(np.float64) / 255 for k in range(3))
    kr, kb = matrix
    y = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - y) / (2 * (1 - kb)), (red - y) / (2 * (1 - kr))
    scaled = (
        np.stack([y * 255, cb * 255 + 128, cr * 255 + 128], axis=1)
        if full
        else np.stack([y * 219 + 16, cb * 224 + 128, cr * 224 + 128], axis=1)
    )
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def expanded(ids: np.ndarray, step: int, height: int, width: int) -> np.ndarray:
    """A mask on its grid as H,W, every value `step` pixels wide and high."""
    if step == 1:
        return ids
    return np.repeat(np.repeat(ids, step, axis=1)[:, :width], step, axis=0)[:height]


def mask_png(ids: np.ndarray, rgb: np.ndarray) -> bytes:
    """An 8-bit palette PNG whose pixel values are class ids (H,W), made for speed.

    Each line is stored as its difference to the one above: masks are mostly equal from line to line, so the fastest
    compression level already makes them small.
    """
    height, width = ids.shape
    lines = np.empty((height, width + 1), np.uint8)
    lines[:, 0] = 2  # the filter "up"
    lines[0, 1:] = ids[0]
    np.subtract(ids[1:], ids[:-1], out=lines[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", header), (b"PLTE", rgb.tobytes()), (b"IDAT", body), (b"IEND", b""))
    )
