"""Bitmaps that stand in an annotation file, small PNGs and many of them: decoded together in a confined process."""

import io
import struct
from collections.abc import Iterator, Sequence

import numpy as np

from segapp.imaging import forked, memory
from segapp.imaging.bare import PNG_HEAD
from segapp.imaging.image_input import ImageInput
from segapp.imaging.invalid_file import InvalidFile

MAX_PIXELS = 50_000_000  # of a bitmap, and of those that one process decodes
LENGTH = struct.Struct("<Q")  # bytes of the PNG that follows
DAMAGED = 2  # what all pixels of one are that cannot be decoded


def decode(files: Sequence[bytes], name: str) -> list[np.ndarray | None]:
    """bool (h, w) of each PNG, True where it is not black; None for what is none, is damaged or too large.

    Raises memory.DecodersBusy.
    """
    sizes = [size_of(content) for content in files]
    found: list[np.ndarray | None] = [None] * len(files)
    for group in _groups(sizes):
        areas = [height * width for height, width in (sizes[k] or (0, 0) for k in group)]
        pixels = _pixels([files[k] for k in group], sum(areas), name)
        for k, flat in zip(group, np.split(pixels, np.cumsum(areas)[:-1]), strict=True):
            if flat.max() < DAMAGED:
                found[k] = flat.reshape(sizes[k]).astype(bool)
    return found


def size_of(content: bytes) -> tuple[int, int] | None:
    """Height and width by the header; None where it is no PNG's, or says too many pixels."""
    if not content.startswith(PNG_HEAD) or len(content) < 24:
        return None
    width, height = struct.unpack_from(">II", content, 16)
    return (height, width) if 0 < width * height <= MAX_PIXELS else None


def _groups(sizes: Sequence[tuple[int, int] | None]) -> Iterator[list[int]]:
    """Numbers of bitmaps that one process decodes."""
    group: list[int] = []
    pixels = 0
    for k, size in enumerate(sizes):
        if size is None:
            continue
        area = size[0] * size[1]
        if group and pixels + area > MAX_PIXELS:
            yield group
            group, pixels = [], 0
        group.append(k)
        pixels += area
    if group:
        yield group


def _pixels(files: Sequence[bytes], count: int, name: str) -> np.ndarray:
    """uint8 (count), those of one bitmap behind the other's: 0, 1, or DAMAGED. Raises memory.DecodersBusy."""
    packed = io.BytesIO(b"".join(LENGTH.pack(len(content)) + content for content in files))
    need = memory.STORED * count
    with memory.decoding.hold(need):
        try:
            values = forked.read("bitmaps", packed, name, ImageInput(), need).values
        except InvalidFile:  # one of them has ended the process
            values = None
    if values is None or values.shape != (count,) or values.dtype != np.uint8:
        return np.full(count, DAMAGED, np.uint8)
    return values
