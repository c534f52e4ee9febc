"""Which way round a mask lies on a photo that EXIF turned: drawn on the image as shown, or on the file's pixels."""

import numpy as np
from PIL import Image

from segapp.imaging.decode import SIDEWAYS, MaskSource, turned_along
from segapp.imaging.values import keys_of

LOOKED_AT = 512  # pixels of the longer side that are enough to compare edges
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
