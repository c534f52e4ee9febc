"""Counting objects: connected components, classical splitting and learnt splitting, on the same images in one run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from registry.runtime import LoadedNetwork, with_base
from segapp.bench.datasets import Draw, draw
from segapp.imaging.object_options import AUTO_STRENGTH
from segapp.measurement import accuracy
from segapp.measurement.objects import Objects, Settings, find, from_instances
from segapp.pipeline.inference.forward import forget
from segapp.pipeline.inference.predict import Prediction, predict
from segapp.pipeline.training.finetune import finetune
from segapp.pipeline.training.job import Example
from segapp.pipeline.training.metrics import channels, confusion, ious, mean

INSTANCES = "instances"  # the folder of object numbers beside images/ and masks/
METHODS = ("components", "classical", "learnt")
SPLIT = {"components": None, "classical": AUTO_STRENGTH, "learnt": AUTO_STRENGTH}


def bench_objects(
    base: LoadedNetwork,
    folders: Sequence[Path],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    tests: int = 30,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
    earlier: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Train on every set and seed, and count the objects of the test images by every method; rows and their means.

    A row has set, seed, method, ap50, f1, count_error (means over images), miou of the class ids, ms an image (network
    and objects, without the encoder's features in memory), and the training's seconds. Rows in `earlier` are taken as
    they are.
    """
    rows = []
    done = {(row["set"], row["seed"], row["method"]): row for row in earlier}
    for folder in folders:
        for seed in seeds:
            if all((folder.name, seed, method) in done for method in METHODS):
                rows += [done[folder.name, seed, method] for method in METHODS]
                continue
            for row in _rows(base, draw(folder, seed, tests), folder, seed):
                rows.append(row)
                report(row)
    return {"rows": rows, "summary": summary(rows)}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Per method the means over sets and seeds, and what they gain on connected components."""
    plain = {(row["set"], row["seed"]): row for row in rows if row["method"] == "components"}
    found = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        names = ("ap50", "f1", "count_error", "miou", "ms", "seconds")
        figures = {name: float(np.mean([row[name] for row in own])) for name in names}
        pairs = [(row, plain[row["set"], row["seed"]]) for row in own if (row["set"], row["seed"]) in plain]
        if pairs:
            figures["ap50_gain"] = float(np.mean([one["ap50"] - other["ap50"] for one, other in pairs]))
            figures["miou_gain"] = float(np.mean([one["miou"] - other["miou"] for one, other in pairs]))
            figures["ms_ratio"] = float(np.mean([one["ms"] / other["ms"] for one, other in pairs]))
        found[method] = {name: round(value, 4) for name, value in figures.items()}
    return found


def sets_with_instances(folders: Sequence[Path]) -> list[Path]:
    """The sets that number their objects. Raises ValueError where there are none."""
    found = [folder for folder in folders if (folder / INSTANCES).is_dir()]
    if not found:
        listed = ", ".join(str(folder) for folder in folders)
        raise ValueError(f"No set with {INSTANCES}/ beside images/ and masks/ was found in: {listed}.")
    return found


def _rows(base: LoadedNetwork, drawn: Draw, folder: Path, seed: int) -> list[dict[str, Any]]:
    """One draw: the training, then every test image by all methods in turn.

    One training serves all: the head for learnt splitting comes last and changes no other tensor, so a training without
    object numbers gives the very same classes (segapp/tests/pipeline/test_interior.py holds that).
    """
    train = [replace(example, instances=instances(folder, example)) for example in drawn.train]
    trained = finetune(base, train, drawn.classes, seed=seed)
    module = with_base(base, trained.spec, trained.tensors).eval()
    net = LoadedNetwork("bench", "", base.base_key, trained.spec, module, base.device)
    scores = {method: Score(drawn.test_ids) for method in METHODS}
    for number, example in enumerate(drawn.test):
        truth = from_instances(instances(folder, example), example.mask)
        things = tuple(int(k) for k in np.unique(truth.class_ids)) or (1,)
        turn = number % len(METHODS)  # no method is always the first, which is the slower
        for method in (*METHODS[turn:], *METHODS[:turn]):
            began = time.perf_counter()
            found, objects = count(net, example.image, method, things)
            scores[method].add(example.mask, found.ids, truth, objects, time.perf_counter() - began)
    same = {"set": folder.name, "seed": seed}
    return [{**same, "method": m, **scores[m].figures(), "seconds": round(trained.seconds, 2)} for m in METHODS]


def count(net: LoadedNetwork, image: np.ndarray, method: str, things: tuple[int, ...]) -> tuple[Prediction, Objects]:
    """Predict an image without anything of it in memory, and find its objects; for learnt splitting by the map."""
    forget()
    found = predict(net, image, interior=method == "learnt")
    return found, find(found.ids, Settings(things, split=SPLIT[method]), found.interior)


class Score:
    """Figures of one method over the test images."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = list(ids)
        self._table = np.zeros((len(ids), len(ids)), dtype=np.int64)
        self._agreements: list[accuracy.Agreement] = []
        self._seconds: list[float] = []

    def add(self, mask: np.ndarray, ids: np.ndarray, truth: Objects, found: Objects, seconds: float) -> None:
        self._table += confusion(channels(mask, self._ids), channels(ids, self._ids), len(self._ids))
        self._agreements.append(accuracy.compare(truth, found))
        self._seconds.append(seconds)

    def figures(self) -> dict[str, float]:
        found = accuracy.means(self._agreements)
        found |= {"miou": mean(ious(self._table)) or 0.0, "ms": 1000 * float(np.mean(self._seconds))}
        return {name: round(value, 4) for name, value in found.items()}


def instances(folder: Path, example: Example) -> np.ndarray:
    """int32 H,W of an example's object numbers. Raises ValueError where the file is missing or of another size."""
    path = next(iter(sorted((folder / INSTANCES).glob(f"{example.stem}.*"))), None)
    if path is None:
        raise ValueError(f"{folder / INSTANCES} has no file for {example.stem}.")
    with Image.open(path) as stored:
        numbers = np.asarray(stored).astype(np.int32)
    if numbers.shape != example.mask.shape:
        raise ValueError(f"{path} is {numbers.shape[1]} × {numbers.shape[0]}, unlike its image.")
    return numbers
