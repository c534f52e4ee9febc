"""How good answers to strokes are: the live head, a training on the strokes, a forest on filters, whole masks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from registry.network import ClassInfo
from registry.runtime import LoadedNetwork, with_base
from segapp.bench.datasets import Draw, draw
from segapp.bench.forest import filter_features, forest_ids, train_forest
from segapp.bench.scribbles import scribbled
from segapp.pipeline.inference.live import fit, image_features, live_logits, sampled
from segapp.pipeline.inference.predict import predict
from segapp.pipeline.inference.upsample import decide
from segapp.pipeline.training.finetune import Example, finetune
from segapp.pipeline.training.metrics import channels, confusion, ious, mean

STROKES = (3, 10, 30)
WAYS = ("live", "trained", "forest", "whole")

Report = Callable[[dict[str, Any]], None]
Answer = Callable[[np.ndarray], np.ndarray]


def measure(
    base: LoadedNetwork,
    folders: Sequence[Path],
    *,
    seeds: Sequence[int],
    tests: int,
    ways: Sequence[str] = WAYS,
    report: Report = lambda _: None,
    earlier: Sequence[dict[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Rows of set, seed, strokes (0 for whole masks), way and miou; those among `earlier` are not measured again."""
    done = {_key(row): row for row in earlier}
    rows: list[dict[str, Any]] = []
    for folder in folders:
        for seed in seeds:
            wanted = [
                (folder.name, seed, strokes, way)
                for way in ways
                for strokes in ((0,) if way == "whole" else STROKES)
            ]  # fmt: skip
            missing = [key for key in wanted if key not in done]
            drawn = draw(folder, seed, tests) if missing else None
            for way in dict.fromkeys(key[3] for key in missing):
                assert drawn is not None
                numbers = [key[2] for key in missing if key[3] == way]
                for strokes, miou in _scores(way, base, drawn, seed, numbers):
                    row = {"set": folder.name, "seed": seed, "strokes": strokes, "way": way, "miou": round(miou, 4)}
                    done[_key(row)] = row
                    report(row)
            rows += [done[key] for key in wanted]
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each set and number of strokes, with each way's mean over the seeds."""
    found = []
    for name in dict.fromkeys(row["set"] for row in rows):
        for strokes in STROKES:
            means: dict[str, Any] = {"set": name, "strokes": strokes}
            for way in WAYS:
                number = 0 if way == "whole" else strokes
                own = [r["miou"] for r in rows if (r["set"], r["strokes"], r["way"]) == (name, number, way)]
                means[way] = round(float(np.mean(own)), 4) if own else None
            found.append(means)
    return found


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["set"], row["seed"], row["strokes"], row["way"]


def _scores(way: str, base: LoadedNetwork, drawn: Draw, seed: int, numbers: Sequence[int]) -> list[tuple[int, float]]:
    """mIoU by one way after so many strokes a class each; for "whole" the number is 0."""
    ids = [c.id for c in drawn.classes]
    masks = [e.mask for e in drawn.train]
    drawn_by = {n: scribbled(masks, ids, n, seed) if n else masks for n in numbers}
    if way == "forest":
        return _forest(drawn, drawn_by, seed)
    if way == "live":
        return _live(base, drawn, drawn_by)
    found = []
    for number, own in drawn_by.items():
        examples = [Example(e.stem, e.image, mask) for e, mask in zip(drawn.train, own, strict=True)]
        trained = finetune(base, examples, drawn.classes, seed=seed)
        module = with_base(base, trained.spec, trained.tensors).eval()
        net = LoadedNetwork("bench", "", base.base_key, trained.spec, module, base.device)
        found.append((number, scored(drawn, lambda image, net=net: predict(net, image).ids)))  # type: ignore[misc]
    return found


def _live(base: LoadedNetwork, drawn: Draw, drawn_by: dict[int, list[np.ndarray]]) -> list[tuple[int, float]]:
    """The live head; features of each image are computed once for all numbers of strokes."""
    features = [image_features(base, e.image) for e in drawn.train]
    heads = {n: fit([sampled(f, m) for f, m in zip(features, own, strict=True)]) for n, own in drawn_by.items()}
    counts = {n: _Counts(drawn.test_ids) for n in heads}
    for example in drawn.test:
        seen = image_features(base, example.image)
        for number, head in heads.items():
            if head is not None:
                classes = [ClassInfo(one, "", "") for one in head.ids]
                found, _ = decide(live_logits(seen, head), example.mask.shape[0], example.mask.shape[1], classes)
                counts[number].add(example.mask, found)
    return [(number, one.miou) for number, one in counts.items()]


def _forest(drawn: Draw, drawn_by: dict[int, list[np.ndarray]], seed: int) -> list[tuple[int, float]]:
    features = [filter_features(e.image) for e in drawn.train]
    forests = {n: train_forest(features, own, seed) for n, own in drawn_by.items()}
    counts = {n: _Counts(drawn.test_ids) for n in forests}
    for example in drawn.test:
        seen = filter_features(example.image)
        for number, forest in forests.items():
            counts[number].add(example.mask, forest_ids(forest, seen, (example.mask.shape[0], example.mask.shape[1])))
    return [(number, one.miou) for number, one in counts.items()]


def scored(drawn: Draw, answer: Answer) -> float:
    """mIoU over the classes that the test masks hold, at the masks' own size."""
    counts = _Counts(drawn.test_ids)
    for example in drawn.test:
        counts.add(example.mask, answer(example.image))
    return counts.miou


class _Counts:
    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = ids
        self._table = np.zeros((len(ids), len(ids)), dtype=np.int64)

    def add(self, truth: np.ndarray, found: np.ndarray) -> None:
        self._table += confusion(channels(truth, self._ids), channels(found, self._ids), len(self._ids))

    @property
    def miou(self) -> float:
        return mean(ious(self._table)) or 0.0
