"""Clicks that a region takes: objects of whole masks, clicked at where the answer is most wrong, time after time.

Each click is put where the largest error is deepest, inside for what is missed and outside for what is too much, as
interactive segmentation is usually measured. Counted are clicks until an IoU is reached, MAX_CLICKS where it is not.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from scipy import ndimage

from registry.runtime import LoadedNetwork
from segapp.bench.datasets import draw
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.live import image_features
from segapp.pipeline.inference.region import Clicks, RegionGraph, clicked, grown, region_graph, walked

MAX_CLICKS = 15
SHARES = (0.003, 0.6)  # of the image that an object may take
GOALS = (0.8, 0.9)
WAYS: dict[str, Callable[[RegionGraph, Clicks], np.ndarray]] = {"grown": grown, "walked": walked}


def measure(base: LoadedNetwork, folders: Sequence[Path], *, tests: int, seed: int = 0) -> list[dict[str, Any]]:
    """A row of each set and way: `objects`, mean clicks to 80 and 90 % IoU, mean IoU after one and five clicks, and the
    median of milliseconds for an answer when the graph is there."""
    rows = []
    for folder in folders:
        rng = np.random.default_rng(seed)
        played: dict[str, list[tuple[list[float], float]]] = {way: [] for way in WAYS}
        for example in draw(folder, seed, tests).test:
            graph = region_graph(image_features(base, example.image), example.image)
            truth = _object(_fitted(example.mask, graph.labels.shape), rng)
            if truth is None:
                continue
            for way, answer in WAYS.items():
                played[way].append(play(graph, truth, answer))
        rows += [{"set": folder.name, "way": way, **_figures(found)} for way, found in played.items() if found]
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each way's means over the sets."""
    found = []
    for way in WAYS:
        own = [row for row in rows if row["way"] == way]
        keys = ("clicks_80", "clicks_90", "iou_1", "iou_5", "ms")
        found.append({"way": way, **{key: round(float(np.mean([row[key] for row in own])), 3) for key in keys}})
    return found


def play(
    graph: RegionGraph, truth: np.ndarray, answer: Callable[[RegionGraph, Clicks], np.ndarray]
) -> tuple[list[float], float]:
    """IoU after each click on an object (int H,W: 1 inside, 0 outside, IGNORE), and the median of seconds."""
    inside, outside = truth == 1, truth == 0
    height, width = truth.shape
    found = np.zeros_like(inside)
    clicks: list[tuple[float, float, bool]] = []
    scores, times = [], []
    for _ in range(MAX_CLICKS):
        depths = [_depth(inside & ~found), _depth(outside & found)]
        missed = depths[0].max() >= depths[1].max()
        depth = depths[0] if missed else depths[1]
        if depth.max() == 0:
            scores.append(1.0)
            continue
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        clicks.append(((float(column) + 0.5) / width, (float(row) + 0.5) / height, bool(missed)))
        began = time.perf_counter()
        places = clicked(graph, clicks)
        chosen = answer(graph, places) if places.inside else np.zeros(len(graph.area), bool)
        times.append(time.perf_counter() - began)
        found = chosen[graph.labels]
        scores.append(float((found & inside).sum() / max(1, (inside | (found & outside)).sum())))
    return scores, float(np.median(times))


def _figures(played: list[tuple[list[float], float]]) -> dict[str, Any]:
    scores = np.array([one for one, _ in played])
    found: dict[str, Any] = {"objects": len(played)}
    for goal in GOALS:
        reached = scores >= goal
        clicks = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, MAX_CLICKS)
        found[f"clicks_{round(100 * goal)}"] = round(float(clicks.mean()), 2)
    found |= {"iou_1": round(float(scores[:, 0].mean()), 3), "iou_5": round(float(scores[:, 4].mean()), 3)}
    return found | {"ms": round(1000 * float(np.median([seconds for _, seconds in played])), 1)}


def _object(ids: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """A connected part of a class drawn by chance, parts by their area; None where none has the right size."""
    parts: dict[int, list[tuple[int, np.ndarray]]] = {}
    for value in np.unique(ids[ids != IGNORE]):
        labels = cc3d.connected_components((ids == value).astype(np.uint8), connectivity=4).reshape(ids.shape)
        for number, area in enumerate(np.bincount(labels.ravel()).tolist()):
            if number and SHARES[0] <= area / ids.size <= SHARES[1]:
                parts.setdefault(int(value), []).append((area, labels == number))
    if not parts:
        return None
    own = parts[int(rng.choice(sorted(parts)))]
    areas = np.array([area for area, _ in own], float)
    chosen = own[int(rng.choice(len(own), p=areas / areas.sum()))][1]
    return np.where(chosen, 1, np.where(ids == IGNORE, IGNORE, 0))


def _fitted(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    rows = (np.arange(size[0]) * 2 + 1) * mask.shape[0] // (2 * size[0])
    columns = (np.arange(size[1]) * 2 + 1) * mask.shape[1] // (2 * size[1])
    found: np.ndarray = mask[rows][:, columns]
    return found


def _depth(error: np.ndarray) -> np.ndarray:
    """How far each place of an error is from its border; the image's own border counts."""
    found: np.ndarray = ndimage.distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1]
    return found
