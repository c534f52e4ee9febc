"""Which way round a mask lies on a photo that EXIF turned: drawn on the image as shown, or on the file's pixels."""

from dataclasses import replace

import numpy as np
from PIL import Image

from segapp.imaging.decode import SIDEWAYS, MaskSource, turned_along
from segapp.imaging.values import keys_of

LOOKED_AT = 512  # pixels of the longer side that are enough to compare edges
ROUNDING = 3  # pixels by which scaling tools make a mask larger or smaller than its image
CLEARLY = 1.2  # so much better must the turned mask follow the image's edges to be turned


def like(source: MaskSource, image: Image.Image, turn: int) -> MaskSource:
    """The mask as it lies on the upright `image` that EXIF orientation `turn` turned.

    Sizes tell where they can: a mask that fits only when turned along is turned. Where it fits both ways (a square, a
    half turn, a mirror image) the image's edges decide, and only a clear answer turns it.
    """
    if turn == 1 or source.turned:
        return source
    height, width = source.values.shape[:2]
    fits = (width, height) == image.size
    fits_turned = ((height, width) if turn in SIDEWAYS else (width, height)) == image.size
    if not fits_turned:
        return source
    turned = turned_along(source, turn)
    if not fits:
        return turned
    slopes = _slopes(image)
    return turned if _agreement(turned, slopes) > CLEARLY * _agreement(source, slopes) else source


def fitted(source: MaskSource, size: tuple[int, int]) -> MaskSource:
    """The mask at the image's (width, height) where rounding made it up to ROUNDING pixels larger or smaller."""
    height, width = source.values.shape[:2]
    apart = max(abs(width - size[0]), abs(height - size[1]))
    if not 0 < apart <= ROUNDING:
        return source
    rows = ((np.arange(size[1]) + 0.5) * height / size[1]).astype(int)
    columns = ((np.arange(size[0]) + 0.5) * width / size[0]).astype(int)
    return replace(source, values=source.values[rows][:, columns])


def _slopes(image: Image.Image) -> np.ndarray:
    """float32 (h, w): how steeply a small grey copy changes, relative to its mean."""
    small = image.convert("L")
    small.thumbnail((LOOKED_AT, LOOKED_AT), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float32)
    slopes = np.zeros_like(grey)
    slopes[:, 1:] += np.abs(np.diff(grey, axis=1))
    slopes[1:] += np.abs(np.diff(grey, axis=0))
    return slopes / max(1e-6, float(slopes.mean()))


def _agreement(source: MaskSource, slopes: np.ndarray) -> float:
    """Mean slope of the image along the mask's edges; 1 is what chance gives, and a mask without edges."""
    height, width = source.values.shape[:2]
    rows = np.arange(slopes.shape[0]) * height // slopes.shape[0]
    columns = np.arange(slopes.shape[1]) * width // slopes.shape[1]
    keys = keys_of(MaskSource(source.kind, source.values[rows][:, columns]), slice(None))
    edges = np.zeros(keys.shape, dtype=bool)
    edges[:, 1:] |= keys[:, 1:] != keys[:, :-1]
    edges[1:] |= keys[1:] != keys[:-1]
    return float(slopes[edges].mean()) if edges.any() else 1.0
