"""Quality and time of a quick training over the number of its images, and of strokes against whole masks.

All trainings of a draw are tested on the same images. Each takes the first images of the draw, so a larger one has seen
all that a smaller one has.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry.runtime import LoadedNetwork, with_base
from segapp.bench.datasets import TRAIN, Draw, available, draw
from segapp.bench.finetune import groups, loaded, score, summary
from segapp.bench.scribbles import scribbled
from segapp.pipeline.training.finetune import finetune

STROKES = 10  # a class, over five images together
MIN_TESTS = 10  # images that a set must leave to score on


def bench_counts(
    base: LoadedNetwork,
    folders: Sequence[Path],
    *,
    seeds: Sequence[int],
    counts: Sequence[int],
    tests: int = 30,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
    known: Collection[str] = (),
    earlier: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Train quick on each number of images that a set has, and on strokes on five; rows, a summary and groups as of
    bench_finetune, with `recipe` naming what was trained on.

    A row also has images, strokes (None: whole masks) and largest, the most images of its draw: rows of `earlier` stand
    for their draws where that is the same, because it decides which images are tested. Counts for which a set has too
    few images, or whose images hold one class only, have no row.
    """
    rows = []
    done = {(row["set"], row["seed"], row["recipe"], row.get("largest")): row for row in earlier}
    for folder in folders:
        fitting = [count for count in sorted(set(counts)) if count + MIN_TESTS <= available(folder)]
        if not fitting:
            continue
        largest = max(fitting)
        strokes = [(TRAIN, STROKES)] if TRAIN in fitting else []
        for seed in seeds:
            drawn: Draw | None = None
            for images, drawn_strokes in [*((count, None) for count in fitting), *strokes]:
                key = (folder.name, seed, name_of(images, drawn_strokes), largest)
                if key in done:
                    rows.append(done[key])
                    continue
                drawn = drawn or draw(folder, seed, tests, largest)
                part = taken(drawn, images, drawn_strokes, seed)
                if len(part.classes) < 2:
                    continue
                row = {**_row(base, part, seed, key), "images": images, "strokes": drawn_strokes, "largest": largest}
                rows.append(row)
                report(row)
    return {"rows": rows, "summary": summary(rows), "groups": groups(rows, known)}


def name_of(images: int, strokes: int | None) -> str:
    """What stands for `recipe` in a row."""
    return f"{images} image{'' if images == 1 else 's'}" if strokes is None else f"{strokes} strokes"


def taken(drawn: Draw, images: int, strokes: int | None, seed: int) -> Draw:
    """The draw with its first images only, and with strokes a class instead of whole masks."""
    train = drawn.train[:images]
    held = {int(value) for example in train for value in set(example.mask.ravel().tolist())}
    classes = [found for found in drawn.classes if found.id in held]
    if strokes is not None:
        masks = scribbled([example.mask for example in train], [found.id for found in classes], strokes, seed)
        train = [replace(example, mask=mask, instances=None) for example, mask in zip(train, masks, strict=True)]
    return replace(drawn, train=train, classes=classes)


def _row(base: LoadedNetwork, part: Draw, seed: int, key: tuple[str, int, str, int]) -> dict[str, Any]:
    started = time.monotonic()
    trained = finetune(base, part.train, part.classes, seed=seed)
    seconds = round(time.monotonic() - started, 2)
    net = loaded(base, trained.spec, with_base(base, trained.spec, trained.tensors).eval())
    return {
        "set": key[0],
        "seed": seed,
        "recipe": key[2],
        "miou": score(net, part),
        "seconds": seconds,
        "steps": trained.steps,
        "input_size": trained.spec.input_size,
    }
