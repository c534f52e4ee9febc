"""Numbers over the frames of a video: class shares per frame, over time, and altogether. Bounded in memory."""

import threading
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from registry.network import ClassInfo
from segapp.imaging.class_areas import ClassArea, class_areas, write_csv

MAX_POINTS = 600  # of a timeline


class Stats:
    """Sums up the class counts of every frame; `seconds` is the video's length, `pixels` one frame's size."""

    def __init__(self, classes: Sequence[ClassInfo], seconds: float, rate: Fraction, pixels: int) -> None:
        self.classes, self.pixels, self.frames = list(classes), pixels, 0
        self._bin = max(seconds / MAX_POINTS, 1 / float(rate))
        self._total = np.zeros(len(self.classes))
        self._bins: dict[int, tuple[int, np.ndarray]] = {}
        self._lock = threading.Lock()  # written by the writer's thread, read by the main one

    def add(self, at: float, shares: Sequence[float]) -> None:
        """One frame `at` seconds, with the share of each class, 0 to 1."""
        values = np.asarray(shares)
        key = min(int(at / self._bin + 1e-6), MAX_POINTS)
        with self._lock:
            self.frames += 1
            self._total += values
            count, total = self._bins.get(key, (0, np.zeros(len(self.classes))))
            self._bins[key] = (count + 1, total + values)

    def timeline(self) -> list[list[Any]]:
        """[[seconds, {class id: percent}], …], at most about MAX_POINTS; classes that do not occur are left out."""
        with self._lock:
            bins = sorted(self._bins.items())
        return [
            [
                round(key * self._bin, 3),
                {
                    str(c.id): round(100 * float(share) / count, 2)
                    for c, share in zip(self.classes, total, strict=True)
                    if share > 0
                },
            ]
            for key, (count, total) in bins
        ]

    def summary(self) -> list[ClassArea]:
        """Every class with its pixels (of an average frame) and percent."""
        pixels = [float(total) / max(1, self.frames) * self.pixels for total in self._total]
        return class_areas(self.classes, pixels, self.pixels)


Row = tuple[int, float, bool, Sequence[float], float | None]  # frame, seconds, predicted, share of each class, doubt


def write_frames_csv(path: Path, classes: Sequence[ClassInfo], rows: Iterable[Row]) -> None:
    """One line a frame: its number, seconds, whether its mask was predicted or carried over, percent per class, and the
    mask's doubt (empty where an earlier version made the mask)."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        write_csv(
            file,
            ["frame", "seconds", "predicted", *(f"{c.id} {c.name} %" for c in classes), "doubt"],
            (
                [
                    *(number, f"{at:.4f}", int(predicted)),
                    *(f"{100 * share:.3f}" for share in shares),
                    "" if doubt is None else f"{doubt:.4f}",
                ]
                for number, at, predicted, shares, doubt in rows
            ),
        )
