"""Masks made visible: overlays, palette files, thumbnails."""

import io
from typing import Any

import numpy as np
from PIL import Image

from segapp.imaging.palette import rgb

IGNORE = 255
STRIPE = 5  # pixels
JPEG_SIDE = 65_500  # pixels; the format holds no more


def color_table(classes: list[dict[str, Any]]) -> np.ndarray:
    """uint8 (256, 3): the colour of each class id; ids that are no class are black."""
    table = np.zeros((256, 3), dtype=np.uint8)
    for found in classes:
        table[found["id"]] = rgb(found["color"])
    return table


def overlay(image: Image.Image, ids: np.ndarray, classes: list[dict[str, Any]], alpha: float) -> Image.Image:
    """The image with its classes laid over; ids uint8 (H, W) of the image's size, ignored pixels stay clear."""
    known = np.zeros(256, dtype=bool)
    known[[found["id"] for found in classes]] = True
    cover = Image.fromarray((known[ids] * round(alpha * 255)).astype(np.uint8))
    return Image.composite(Image.fromarray(color_table(classes)[ids]), image.convert("RGB"), cover)


def hatched(image: Image.Image, where: np.ndarray) -> Image.Image:
    """The image with slanting stripes over the pixels that are True in `where`, bool (H, W): they are ignored."""
    if not where.any():
        return image
    rows, columns = np.ogrid[: where.shape[0], : where.shape[1]]
    stripes = where & ((rows + columns) // STRIPE % 2 == 0)
    cover = Image.fromarray((stripes * 150).astype(np.uint8))
    return Image.composite(Image.new("RGB", image.size, "white"), image, cover)


def palette_png(ids: np.ndarray, classes: list[dict[str, Any]]) -> bytes:
    """An 8-bit palette PNG whose pixel values are the class ids and whose palette holds their colours."""
    image = Image.fromarray(ids)
    image.putpalette(color_table(classes).tobytes())
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1, bits=8)
    return out.getvalue()


def for_jpeg(image: Image.Image) -> Image.Image:
    """The image, or a smaller copy where its width or height is more than a JPEG can have."""
    if max(image.size) > JPEG_SIDE:
        image.thumbnail((JPEG_SIDE, JPEG_SIDE))
    return image


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """A smaller RGB copy whose longer side is at most `side` pixels; never an enlarged one."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return small
