"""Few-shot draws from folders of pairs, by one protocol, so that figures compare."""

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from registry.network import ClassInfo
from segapp.imaging import class_mapping, pairs
from segapp.imaging.values import Mask
from segapp.pipeline.base.datasets import stems_of
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.training.job import Example

TRAIN = 5
TEST = 30
SCENES = ("aerial_ortho",)  # sets of chips of few scenes; a stem is the scene's, a dash and a number
POOLED = ("human", "cats_feral", "flood_area", "nuclei_dsb2018", "road_crack_cfd")


@dataclass(frozen=True)
class Draw:
    """Pairs to train on, usually five, others to test on, and the classes the training masks hold."""

    train: list[Example]
    test: list[Example]
    classes: list[ClassInfo]
    test_ids: list[int]


def available(folder: Path) -> int:
    """How many pairs a draw from this set can give to train on."""
    return len(pools(folder.name, list(stems_of(folder)))[0])


def draw(folder: Path, seed: int, tests: int = TEST, images: int = TRAIN) -> Draw:
    """The draw of `seed` from a set: sorted stems, shuffled, the first `images`, then the next ones.

    Sets that a base model may have learnt from give only images it has not seen. Chips of the scene that gives the
    training images never test.
    """
    files = stems_of(folder)
    train_pool, test_pool = pools(folder.name, list(files))
    shuffle = random.Random(seed)
    shuffle.shuffle(train_pool)
    if test_pool is None:
        train, test = train_pool[:images], train_pool[images : images + tests]
    else:
        shuffle.shuffle(test_pool)
        train, test = train_pool[:images], test_pool[:tests]
    if len(train) < images or not test:
        raise ValueError(f"{folder} has too few pairs for a score: {images} to train on and one more are needed.")
    read = [_read(stem, *files[stem]) for stem in [*train, *test]]
    reading = class_mapping.read_summaries([mask.summary for _, mask in read], [*train, *test])
    known = {found["id"]: found for found in reading.trained}
    examples = [
        Example(stem, image, class_mapping.apply(mask, reading))
        for stem, (image, mask) in zip([*train, *test], read, strict=True)
    ]
    ids = _ids(examples[: len(train)])
    classes = [ClassInfo(i, known[i]["name"], known[i]["color"]) for i in ids]
    return Draw(examples[: len(train)], examples[len(train) :], classes, sorted(known))


def sets_in(folders: Sequence[Path]) -> list[Path]:
    """The folders that are sets themselves (images/ and masks/), and the sets inside the others, two levels deep.

    Raises ValueError when there are none.
    """
    found: list[Path] = []
    for folder in folders:
        found += [folder] if _is_set(folder) else _inside(folder, 2)
    if not found:
        raise ValueError(f"No folder with images/ and masks/ was found in: {', '.join(map(str, folders))}.")
    return found


def _inside(folder: Path, levels: int) -> list[Path]:
    children = sorted(child for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []
    found: list[Path] = []
    for child in children:
        if _is_set(child):
            found.append(child)
        elif levels > 1:
            found += _inside(child, levels - 1)
    return found


def _is_set(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def pools(name: str, stems: list[str]) -> tuple[list[str], list[str] | None]:
    """Stems to draw from, and those to test on when they are a pool of their own."""
    stems = sorted(stems)
    if name == "camvid":
        return (
            [s for s in stems if s.startswith("val_")],
            [s for s in stems if s.startswith("test_")],
        )
    if name in SCENES:
        return _scenes(stems)
    if name in POOLED:
        return [s for s in stems if int(hashlib.sha256(s.encode()).hexdigest(), 16) % 2], None
    return stems, None


def _scenes(stems: list[str]) -> tuple[list[str], list[str]]:
    """The chips of the scene that has the most of them, and all others'."""
    counts = Counter(stem.rpartition("-")[0] for stem in stems)
    largest = max(sorted(counts), key=lambda scene: counts[scene])
    own = [stem for stem in stems if stem.rpartition("-")[0] == largest]
    return own, [stem for stem in stems if stem not in own]


def halves(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Sets to decide on and sets to confirm on: by turns in the order of their names."""
    ordered = sorted(set(names))
    return ordered[::2], ordered[1::2]


def _read(stem: str, image: Path, mask: Path) -> tuple[np.ndarray, Mask]:
    """A pair as the product reads it; masks of any kind that a visitor may send."""
    with open(image, "rb") as image_file, open(mask, "rb") as mask_file:
        pair = pairs.read(image_file, image.name, mask_file, mask.name)
    return np.asarray(pair.image), pair.mask


def _ids(examples: list[Example]) -> list[int]:
    """Class ids that occur in the masks."""
    values: set[int] = set()
    for example in examples:
        values |= {int(v) for v in np.unique(example.mask)}
    return sorted(values - {IGNORE})
