"""An honest score inside the run: every pixel is judged by a network that never saw it.

Examples are split in two folds; with a single one, its left and right halves are.
Each half is judged by a short training on the other. The model that is kept learns
from all of them. Images of one source look alike, so the score can be too high for others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from registry.network import ClassInfo, Network
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.upsample import decide
from segapp.pipeline.training.features import Prepared, View
from segapp.pipeline.training.metrics import channels, confusion, dices, ious, mean

RIVALS = ("base", "trivial")  # what a model may be compared with


@dataclass(frozen=True)
class Fold:
    """Indices of the examples to learn from and to judge.

    learn_half is None with whole images; with a single one it is the half (0 left,
    1 right) that is learnt from, and the other is judged.
    """

    learn: tuple[int, ...]
    judge: tuple[int, ...]
    learn_half: int | None = None


@dataclass
class Judged:
    """A held-out example: ids found and ids of the comparison, uint8 H,W, where judged."""

    index: int
    truth: np.ndarray
    found: np.ndarray
    other: np.ndarray


def folds(examples: int) -> list[Fold]:
    """Two folds that judge every example once, or the halves of the only one."""
    if examples == 1:
        return [Fold((0,), (0,), learn_half=half) for half in (0, 1)]
    even, odd = tuple(range(0, examples, 2)), tuple(range(1, examples, 2))
    return [Fold(even, odd), Fold(odd, even)]


def only_half(prepared: Prepared, half: int) -> Prepared:
    """An example of which only the left (0) or right (1) half is labelled, and shown."""
    middle = prepared.mask.shape[1] // 2
    image, mask = prepared.image.copy(), prepared.mask.copy()
    hidden = np.s_[:, middle:] if half == 0 else np.s_[:, :middle]
    mask[hidden] = IGNORE
    image[hidden] = 127
    return replace(prepared, image=image, mask=mask)


def judged_part(truth: np.ndarray, fold: Fold) -> np.ndarray:
    """The truth with all that the fold may have learnt from set to IGNORE."""
    if fold.learn_half is None:
        return truth
    middle = truth.shape[1] // 2
    part = truth.copy()
    part[np.s_[:, :middle] if fold.learn_half == 0 else np.s_[:, middle:]] = IGNORE
    return part


def learnt_part(truth: np.ndarray, fold: Fold) -> np.ndarray:
    """The truth with all that the fold does not learn from set to IGNORE."""
    if fold.learn_half is None:
        return truth
    other = replace(fold, learn_half=1 - fold.learn_half)
    return judged_part(truth, other)


def mask_of(network: Network, view: View, shape: tuple[int, int], classes: Sequence[ClassInfo]) -> np.ndarray:
    """The network's mask (uint8 H,W of ids) for a plain view's image at its own size."""
    height, width = view.size
    with torch.inference_mode():
        logits = network.segmentation_head(network.decoder(list(view.features)))
    ids, _ = decide(logits[0, :, :height, :width].float().cpu(), *shape, classes)
    return ids


def majority(truths: Sequence[np.ndarray], classes: Sequence[ClassInfo]) -> int:
    """The id that most pixels of `truths` (ids) hold: what a trivial model would say."""
    counts = sum((np.bincount(t.ravel(), minlength=256) for t in truths), np.zeros(256, np.int64))
    return max(classes, key=lambda c: int(counts[c.id])).id


def score(judged: Sequence[Judged], classes: Sequence[ClassInfo], kind: str, how: str) -> dict[str, Any]:
    """The run's metrics, JSON-ready, over all judged pixels together.

    kind says what the comparison is, one of RIVALS.
    """
    ids = [c.id for c in classes]
    own = np.zeros((len(ids), len(ids)), dtype=np.int64)
    other = np.zeros_like(own)
    seen = np.zeros(len(ids), dtype=np.int64)
    for item in judged:
        truth = channels(item.truth, ids)
        own += confusion(truth, channels(item.found, ids), len(ids))
        other += confusion(truth, channels(item.other, ids), len(ids))
        seen += np.array([(truth == k).any() for k in range(len(ids))])
    own_iou, other_iou, own_dice, other_dice = ious(own), ious(other), dices(own), dices(other)
    miou, other_miou = mean(own_iou), mean(other_iou)
    better = miou is not None and other_miou is not None and miou > other_miou
    return {
        "miou": _rounded(miou),
        "dice": _rounded(mean(own_dice)),
        "per_class": [
            {
                "id": c.id,
                "name": c.name,
                "iou": _rounded(own_iou[k]),
                "dice": _rounded(own_dice[k]),
                **_rivals(kind, _rounded(other_iou[k]), _rounded(other_dice[k])),
                "images": int(seen[k]),
            }
            for k, c in enumerate(classes)
        ],
        "comparison": {"kind": kind, "miou": _rounded(other_miou)},
        "better": better,
        "held_out": how,
        "sentence": sentence(miou, other_miou, kind, len(judged)),
    }


def _rivals(kind: str, iou: float | None, dice: float | None) -> dict[str, float | None]:
    """A class's figures of the base and of the trivial model: of the one that is compared with, None of the other."""
    values = {"iou": iou, "dice": dice}
    return {f"{one}_{name}": values[name] if one == kind else None for one in RIVALS for name in values}


def sentence(miou: float | None, other: float | None, kind: str, images: int) -> str:
    """What the score means, in plain words."""
    if miou is None or other is None:
        return "Training was stopped before the model could be scored, so how good it is is unknown."
    held = "the held-out half of your image" if images == 1 else f"{images} held-out images"
    rival = "the base model" if kind == "base" else "always guessing the most common class"
    text = f"On {held} the model reaches a mean IoU of {miou:.2f}; {rival} reaches {other:.2f}."
    if miou > other:
        return text
    return (
        text + " So this model is not better. Add more or more varied images, check the masks, or use the base model."
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
