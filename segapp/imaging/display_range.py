"""More than eight bits brought to the range of a display, the same in training, prediction and display."""

from typing import Any

import numpy as np

LOW, HIGH = 0.1, 99.9  # percentiles that become black and white: hot and dead pixels lie outside
SAMPLED = 4_000_000  # values that decide the range of one channel
MIN_SPAN = 8  # whole numbers between black and white at least, so that the noise of a flat image stays noise
GREY = 128


def eight_bits(values: np.ndarray, missing: float | None = None) -> np.ndarray:
    """Values (H,W) or (H,W,C) of any number type as uint8; uint8 stays as it is.

    Each channel is scaled so that its 0.1 and 99.9 percentiles become 0 and 255. A flat channel stays flat. `missing`
    and values that are no numbers count for nothing and become 0.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.ndim == 2:
        return scaled(values, span(values, missing), missing)
    out = np.empty(values.shape, np.uint8)
    for channel in range(values.shape[2]):
        one = values[..., channel]
        out[..., channel] = scaled(one, span(one, missing), missing)
    return out


def span(values: np.ndarray, missing: float | None = None) -> tuple[float, float]:
    """The values of one channel that become 0 and 255. The second is not above the first where the channel is flat."""
    flat = values.reshape(-1) if values.flags.c_contiguous else values.ravel()
    some = flat[:: max(1, flat.size // SAMPLED)]
    if values.dtype.kind == "f":
        some = some[np.isfinite(some)]
    if missing is not None:
        some = some[some != missing]
    if not some.size:
        return 0.0, 0.0
    low, high = (float(value) for value in np.percentile(some, (LOW, HIGH)))
    if high > low and values.dtype.kind != "f" and high - low < MIN_SPAN:
        middle = (low + high) / 2
        low, high = middle - MIN_SPAN / 2, middle + MIN_SPAN / 2
    return low, high


def scaled(values: np.ndarray, span: tuple[float, float], missing: float | None = None) -> np.ndarray:
    """One channel as uint8, by the span that was found for it."""
    low, high = span
    if high <= low:
        level = GREY
        if values.dtype.kind in "iu":
            most = np.iinfo(values.dtype)
            level = round((low - most.min) / (most.max - most.min) * 255)
        out = np.full(values.shape, level, np.uint8)
    else:
        wide: Any = values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32)
        wide -= low
        wide *= 255.0 / (high - low)
        if values.dtype.kind == "f":
            np.nan_to_num(wide, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        np.clip(wide, 0, 255, out=wide)
        out = np.rint(wide, out=wide).astype(np.uint8)
    if missing is not None:
        out[values == missing] = 0
    return out
