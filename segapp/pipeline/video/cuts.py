"""Scene cuts. Numpy only, for the process that decodes needs no torch."""

import numpy as np

CUT = 32.0  # mean change in grey levels between two frames that may be a scene cut
CUT_RATIO = 4.0  # ... when it is also this many times the usual change


class Cuts:
    """Tells scene cuts from movement on small grey thumbnails, one frame after the other."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._usual = 0.0

    def __call__(self, luma: np.ndarray) -> bool:
        """luma: the Y plane H,W. True when this frame begins another scene."""
        rows, cols = max(1, luma.shape[0] // 36), max(1, luma.shape[1] // 64)
        thumbnail = luma[::rows, ::cols].astype(np.int16)
        if self._before is None:
            self._before = thumbnail
            return False
        change = float(np.abs(thumbnail - self._before).mean())
        cut = change > CUT and change > CUT_RATIO * self._usual
        self._before = thumbnail
        if not cut:
            self._usual += 0.2 * (change - self._usual)
        return cut
