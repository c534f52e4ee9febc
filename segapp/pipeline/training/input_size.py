"""The size to which images are scaled for the network: larger where objects are thin or small."""

from collections.abc import Sequence

import numpy as np

from segapp.imaging.tiling import fitted
from segapp.pipeline.constants import IGNORE

FACTORS = (1.0, 1.5, 2.0)  # of the base's input size
MIN_WIDTH = 7.0  # pixels of width at which objects are still segmented well at a quarter of the resolution
MAX_INPUT_SIDE = 1024
MAX_EXAMPLE_SIDE = 2048  # pixels: examples with a longer side are trained on at this size


def choose_input_size(masks: Sequence[np.ndarray], base_size: int) -> int:
    """Long side in pixels, a multiple of 32, from masks uint8 H,W of channels.

    The thinnest class decides: the size grows until its typical width reaches MIN_WIDTH
    pixels, up to twice the base's size.
    """
    widths = [w for mask in masks for w in class_widths(mask, base_size).values()]
    if not widths:
        return base_size
    thinnest = float(np.quantile(widths, 0.25))
    for factor in FACTORS:
        if thinnest * factor >= MIN_WIDTH:
            break
    return min(max(MAX_INPUT_SIDE, base_size), round(base_size * factor / 32) * 32)


def median_side(masks: Sequence[np.ndarray]) -> int:
    """The median long side in pixels of examples; 0 where they may have been scaled down before."""
    side = int(np.median([max(mask.shape) for mask in masks]))
    return side if side < MAX_EXAMPLE_SIDE else 0


def class_widths(mask: np.ndarray, long_side: int) -> dict[int, float]:
    """Typical width of each class but the most common, in pixels at `long_side`.

    Twice the area over the length of the border: for a long stripe this is its width,
    for a disc its radius.
    """
    height, width = mask.shape
    scale = fitted(height, width, long_side)[0 if height >= width else 1] / max(height, width)
    known = mask[mask != IGNORE]
    if known.size == 0:
        return {}
    counts = np.bincount(known, minlength=256)
    widths = {}
    for channel in np.flatnonzero(counts):
        if channel == counts.argmax():
            continue
        inside = mask == channel
        border = (inside[:, 1:] != inside[:, :-1]).sum() + (inside[1:] != inside[:-1]).sum()
        # City-block borders are longer than the true ones by about 4 / pi.
        widths[int(channel)] = float(2 * counts[channel] / max(1.0, border * np.pi / 4)) * scale
    return widths
