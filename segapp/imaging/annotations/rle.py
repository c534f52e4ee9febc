"""Run lengths of COCO, plain and compressed, and of CVAT: bounded before anything is made from them."""

from typing import Any

import numpy as np

MAX_PIXELS = 50_000_000


def coco(counts: Any, height: int, width: int) -> np.ndarray | None:
    """bool (height, width) from COCO's counts, column by column; None for what does not fit the size."""
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        return None
    runs = decompressed(counts) if isinstance(counts, str) else _lengths(counts)
    if runs is None or int(runs.sum()) != height * width:
        return None
    return _unrolled(runs, False).reshape(width, height).T


def rows(counts: Any, height: int, width: int) -> np.ndarray | None:
    """bool (height, width) from run lengths row by row, background first, as CVAT writes them."""
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        return None
    runs = _lengths(counts)
    if runs is None or int(runs.sum()) != height * width:
        return None
    return _unrolled(runs, False).reshape(height, width)


def decompressed(text: str) -> np.ndarray | None:
    """int64 run lengths from COCO's compressed text: 5 bits a letter, from the third on as differences."""
    found: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if len(found) > 2:
            value += found[-2]
        if not 0 <= value <= MAX_PIXELS:
            return None
        found.append(value)
        value = shift = 0
    return np.array(found, dtype=np.int64) if found and not shift else None


def counts_of(mask: np.ndarray) -> list[int]:
    """COCO's plain counts of a bool (H, W), column by column, background first."""
    flat = np.asfortranarray(mask).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [len(flat)]])).tolist()
    return [0, *runs] if len(flat) and flat[0] else runs


def _lengths(counts: Any) -> np.ndarray | None:
    if not isinstance(counts, list) or len(counts) > MAX_PIXELS:
        return None
    try:
        runs = np.asarray(counts, dtype=np.int64)
    except (ValueError, TypeError, OverflowError):
        return None
    return runs if runs.ndim == 1 and len(runs) and runs.min() >= 0 and runs.max() <= MAX_PIXELS else None


def _unrolled(runs: np.ndarray, first: bool) -> np.ndarray:
    values = np.zeros(len(runs), dtype=bool)
    values[int(not first) :: 2] = True
    return np.repeat(values, runs)
