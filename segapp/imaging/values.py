"""What a mask holds, as a short table of values and a code per pixel; a mask in this form costs one byte a pixel.

A value ("key") is a class number, a colour as 0xrrggbb, or TRANSPARENT. Nothing is judged here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segapp.imaging.decode import MaskSource

TRANSPARENT = -1
OPAQUE = 128  # from this alpha on a pixel is its colour
BAND = 1 << 21  # pixels worked on at a time, so that 50 megapixels cost little more than their own bytes


@dataclass(frozen=True)
class Summary:
    """keys[k] occurs in counts[k] pixels. `soft`: blur or compression was taken out, `moved` pixels were changed by it.

    palette: key -> "#rrggbb", as the file's own palette shows it; empty where it has none. names: key -> what a list
    of classes beside the mask calls it. objects: what it holds if its values number objects (`instances.Objects` as a
    dict), None where they cannot. things: the keys of classes whose objects are numbered apart from the values. fixed:
    a list of classes says what every value means, so no rule is needed.
    """

    kind: str
    keys: tuple[int, ...]
    counts: tuple[int, ...]
    soft: bool = False
    moved: int = 0
    palette: dict[int, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    objects: dict[str, Any] | None = None
    things: tuple[int, ...] = ()
    fixed: bool = False

    @property
    def pixels(self) -> int:
        return sum(self.counts)

    def to_dict(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"kind": self.kind, "keys": list(self.keys), "counts": list(self.counts)}
        plain |= {"soft": self.soft, "moved": self.moved, "palette": list(self.palette.items())}
        return {
            **plain,
            "names": list(self.names.items()),
            "objects": self.objects,
            "things": list(self.things),
            "fixed": self.fixed,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Summary":
        colours = {int(key): str(color) for key, color in data["palette"]}
        names = {int(key): str(name) for key, name in data.get("names", [])}
        keys, counts = tuple(data["keys"]), tuple(data["counts"])
        objects, things, fixed = data.get("objects"), tuple(data.get("things", ())), data.get("fixed", False)
        return cls(data["kind"], keys, counts, data["soft"], data["moved"], colours, names, objects, things, fixed)


@dataclass(frozen=True)
class Mask:
    """codes uint8 (H, W): the pixel's value is summary.keys[code]. instances uint16 (H, W): object numbers from 1."""

    codes: np.ndarray
    summary: Summary
    instances: np.ndarray | None = None


def bands(shape: tuple[int, ...], halo: int = 0) -> Iterator[tuple[slice, slice]]:
    """(rows with `halo` more on either side, where the band proper lies in them), top to bottom; shape (H, W, …)."""
    height, width = shape[:2]
    step = max(1, BAND // max(1, width))
    for top in range(0, height, step):
        low, bottom = max(0, top - halo), min(height, top + step)
        yield slice(low, min(height, bottom + halo)), slice(top - low, bottom - low)


def keys_of(source: MaskSource, rows: slice) -> np.ndarray:
    """int32 (h, W): the key of each pixel of some rows."""
    values = source.values[rows]
    if source.kind == "index":
        return values.astype(np.int32)
    keys = values[..., 0].astype(np.int32)
    keys <<= 8
    keys |= values[..., 1]
    keys <<= 8
    keys |= values[..., 2]
    keys[values[..., 3] < OPAQUE] = TRANSPARENT
    return keys


def histogram(source: MaskSource, most: int) -> dict[int, int] | None:
    """key -> pixels, sorted by key; None as soon as there are more than `most` keys."""
    totals: dict[int, int] = {}
    for rows, _ in bands(source.values.shape):
        keys = keys_of(source, rows).ravel()
        starts = _starts(keys)
        if len(starts) > 8 * most and _is_varied(keys[starts], most):
            return None
        found, places = np.unique(keys[starts], return_inverse=True)
        counts = np.bincount(places, weights=np.diff(starts, append=keys.size))
        for key, count in zip(found.tolist(), counts.tolist(), strict=True):
            totals[key] = totals.get(key, 0) + int(count)
        if len(totals) > most:
            return None
    return dict(sorted(totals.items()))


def encode(source: MaskSource, keys: list[int]) -> np.ndarray:
    """uint8 (H, W): where each pixel's key stands in the sorted `keys`, which holds all that occur."""
    table = np.array(keys, dtype=np.int32)
    codes = np.empty(source.values.shape[:2], dtype=np.uint8)
    for rows, _ in bands(codes.shape):
        found = keys_of(source, rows)
        starts = _starts(found.ravel())
        here = np.searchsorted(table, found.ravel()[starts]).astype(np.uint8)
        codes[rows] = np.repeat(here, np.diff(starts, append=found.size)).reshape(found.shape)
    return codes


def channels(keys: np.ndarray, kind: str) -> np.ndarray:
    """int32 (N, 1) of numbers or (N, 3) of red, green, blue."""
    keys = keys.astype(np.int32)
    if kind == "index":
        return keys[:, None]
    return np.stack([(keys >> 16) & 255, (keys >> 8) & 255, keys & 255], axis=1)


def _starts(keys: np.ndarray) -> np.ndarray:
    """Where runs of the same key begin: masks are plain, so there are far fewer of them than pixels."""
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))


def _is_varied(keys: np.ndarray, most: int) -> bool:
    """A quick look at a photo's million runs before sorting them all."""
    return len(np.unique(keys[:: max(1, len(keys) // (8 * most))])) > most
