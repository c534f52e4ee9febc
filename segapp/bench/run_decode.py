"""What decoding an image in a confined process costs: against the same calls in this process, in turn in one run."""

import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from segapp.imaging import decode, forked
from segapp.imaging.image_input import ImageInput
from segapp.imaging.readers import pillow

CASES = (("PNG", 640, 640), ("JPEG", 640, 640), ("JPEG", 1154, 866), ("JPEG", 4000, 3000))
LARGE = 5_000_000  # pixels; a fifth of the requests is enough of these
PAUSE = 0.03  # seconds between two, as requests have them
MOST = 10.0  # ms at p50 that an image of 640 x 640 may take longer


def run(options: dict[str, Any], log: Callable[[str], None]) -> dict[str, Any]:
    """A row of figures for each of CASES."""
    rows = []
    for kind, width, height in CASES:
        count = max(4, options["requests"] // (5 if width * height > LARGE else 1))
        log(f"{kind} of {width} x {height}, {count} times each way")
        rows.append({"image": f"{kind} {width} x {height}", "requests": count, **_measured(kind, width, height, count)})
    forked.stop()
    return {"target_ms": MOST, "rows": rows}


def table(result: dict[str, Any]) -> str:
    """A line an image."""
    lines = [f"{'p50 and p95 in ms':<20}{'in this process':>18}{'confined':>18}{'added':>8}"]
    for row in result["rows"]:
        here, apart = (f"{row[f'{way}_p50_ms']:.1f} {row[f'{way}_p95_ms']:6.1f}" for way in ("plain", "confined"))
        lines.append(f"{row['image']:<20}{here:>18}{apart:>18}{row['added_ms']:>8.1f}")
    return "\n".join([*lines, f"An image of 640 x 640 may take at most {result['target_ms']:.0f} ms longer."])


def _measured(kind: str, width: int, height: int, count: int) -> dict[str, float]:
    """Milliseconds of both ways."""
    file = _drawn(kind, width, height)
    ways = {"plain": lambda: pillow.image(file, "plain", ImageInput()), "confined": lambda: decode.read(file, "apart")}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(-2, count):
        for way in sorted(ways, reverse=bool(number % 2)):
            time.sleep(PAUSE)
            began = time.perf_counter()
            ways[way]()
            if number >= 0:  # the first ones start processes and fill caches
                taken[way].append((time.perf_counter() - began) * 1000)
    found = {}
    for way, times in taken.items():
        found[f"{way}_p50_ms"] = round(statistics.median(times), 2)
        found[f"{way}_p95_ms"] = round(float(np.percentile(times, 95)), 2)
    return {**found, "added_ms": round(found["confined_p50_ms"] - found["plain_p50_ms"], 2)}


def _drawn(kind: str, width: int, height: int) -> io.BytesIO:
    """Smooth colours with a little noise, which compress as photos do."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + random.integers(-6, 7, (height, width, 1), dtype=np.int16)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, kind)
    return file
