"""Few-shot draws from folders of pairs, by one protocol, so that figures compare."""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from registry.network import ClassInfo
from segapp.pipeline.finetune import Example
from segapp.pipeline.labels import IGNORE, PALETTE, stems_of

TRAIN = 5
TEST = 30
POOLED = ("human", "cats_feral", "flood_area", "nuclei_dsb2018", "road_crack_cfd")


@dataclass(frozen=True)
class Draw:
    """Five pairs to train on, others to test on, and the classes the training masks hold."""

    train: list[Example]
    test: list[Example]
    classes: list[ClassInfo]
    test_ids: list[int]


def draw(folder: Path, seed: int, tests: int = TEST) -> Draw:
    """The draw of `seed` from a set: sorted stems, shuffled, first five, then the next ones.

    Sets that a base model may have learnt from give only pictures it has not seen.
    """
    files = stems_of(folder)
    train_pool, test_pool = pools(folder.name, list(files))
    shuffle = random.Random(seed)
    shuffle.shuffle(train_pool)
    if test_pool is None:
        train, test = train_pool[:TRAIN], train_pool[TRAIN : TRAIN + tests]
    else:
        shuffle.shuffle(test_pool)
        train, test = train_pool[:TRAIN], test_pool[:tests]
    examples = [_read(stem, *files[stem]) for stem in train]
    others = [_read(stem, *files[stem]) for stem in test]
    ids = _ids(examples)
    classes = [ClassInfo(i, f"class {i}", PALETTE[i % len(PALETTE)]) for i in ids]
    return Draw(examples, others, classes, sorted(set(ids) | set(_ids(others))))


def pools(name: str, stems: list[str]) -> tuple[list[str], list[str] | None]:
    """Stems to draw from, and those to test on when they are a pool of their own."""
    stems = sorted(stems)
    if name == "camvid":
        return (
            [s for s in stems if s.startswith("val_")],
            [s for s in stems if s.startswith("test_")],
        )
    if name in POOLED:
        return [s for s in stems if int(hashlib.sha256(s.encode()).hexdigest(), 16) % 2], None
    return stems, None


def _read(stem: str, image: Path, mask: Path) -> Example:
    with Image.open(image) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    with Image.open(mask) as picture:
        return Example(stem, pixels, np.asarray(picture, dtype=np.uint8))


def _ids(examples: list[Example]) -> list[int]:
    values: set[int] = set()
    for example in examples:
        values |= {int(v) for v in np.unique(example.mask)}
    return sorted(values - {IGNORE})
