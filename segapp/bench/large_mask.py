"""Measuring a mask of 24 megapixels with 20,000 objects: seconds and peak memory, beside plain scikit-image.

Each way runs in a process of its own, `python -m segapp.bench.large_mask WAY`, which prints one JSON object: peak
memory is a process's, and what one way leaves behind would count as the other's.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from segapp.home import PROJECT
from segapp.measurement.objects import Settings, find
from segapp.measurement.table import measure

HEIGHT, WIDTH = 4000, 6000
ACROSS, DOWN = 160, 125  # 20,000 objects
PROPERTIES = (  # the same that table.measure gives
    *("label", "area", "centroid", "bbox", "equivalent_diameter_area", "axis_major_length", "axis_minor_length"),
    *("perimeter", "eccentricity", "orientation", "intensity_mean", "intensity_std"),
)
WAYS = ("segapp", "skimage")


def run() -> dict[str, Any]:
    """Both ways in turn; `*_ratio` are those of scikit-image's."""
    found = {way: _apart(way) for way in WAYS}
    own, plain = found["segapp"], found["skimage"]
    return {
        "megapixels": round(HEIGHT * WIDTH / 1e6, 1),
        "objects": own["objects"],
        "ways": found,
        "seconds": own["seconds"],
        "peak_mb": own["peak_mb"],
        "seconds_ratio": round(own["seconds"] / plain["seconds"], 4),
        "peak_ratio": round(own["peak_mb"] / max(1.0, plain["peak_mb"]), 4),
    }


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Class ids and grey values, uint8 HEIGHT,WIDTH: ellipses of many sizes on a grid, apart from one another."""
    random = np.random.default_rng(0)
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    tall, wide = HEIGHT // DOWN, WIDTH // ACROSS
    rows, columns = np.mgrid[:tall, :wide]
    for top in range(0, DOWN * tall, tall):
        for left in range(0, ACROSS * wide, wide):
            down, across = random.uniform(0.2, 0.47, 2) * (tall, wide)
            far = ((rows - (tall - 1) / 2) / down) ** 2 + ((columns - (wide - 1) / 2) / across) ** 2
            ids[top : top + tall, left : left + wide] = far <= 1
    return ids, random.integers(0, 256, ids.shape, dtype=np.uint8)


def _apart(way: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "segapp.bench.large_mask", way],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _segapp(ids: np.ndarray, grey: np.ndarray) -> int:
    return measure(find(ids, Settings((1,))), {1: "object"}, grey).count


def _skimage(ids: np.ndarray, grey: np.ndarray) -> int:
    from skimage.measure import label, regionprops_table

    return len(regionprops_table(label(ids, connectivity=2), grey, properties=PROPERTIES)["label"])


def _peak_mb() -> float:
    # Not getrusage's: that counts the process which started this one, too.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _measured(way: Callable[[np.ndarray, np.ndarray], int]) -> dict[str, Any]:
    ids, grey = drawn()
    way(ids[:64, :64], grey[:64, :64])  # imports and first calls are not the mask's
    before = _peak_mb()
    began = time.perf_counter()
    count = way(ids, grey)
    seconds = time.perf_counter() - began
    return {"objects": count, "seconds": round(seconds, 3), "peak_mb": round(_peak_mb() - before, 1)}


if __name__ == "__main__":
    print(json.dumps(_measured({"segapp": _segapp, "skimage": _skimage}[sys.argv[1]])))
