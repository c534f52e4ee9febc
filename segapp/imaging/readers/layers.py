"""Channels put together to RGB, and transparency laid on white."""

import numpy as np


def as_rgb(values: np.ndarray) -> np.ndarray:
    """uint8 (H,W,1), (H,W,2) or (H,W,3) as (H,W,3): grey three times, two channels as red and green."""
    count = values.shape[2]
    if count == 1:
        return np.repeat(values, 3, axis=2)
    if count == 2:
        return np.concatenate([values, np.zeros_like(values[..., :1])], axis=2)
    return np.ascontiguousarray(values)


def over_white(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """uint8 (H,W,3) on white where `alpha` (H,W; whole numbers of its type's full range) lets it through."""
    if alpha is None:
        return rgb
    most = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1.0
    share = (alpha.astype(np.float32) / most)[..., None]
    if share.min() >= 1:
        return rgb
    return np.rint(rgb * share + 255 * (1 - share)).astype(np.uint8)
