"""Two-fold cross-validation inside a run: every pixel is predicted by a network that was not trained on it.

Examples are split into two folds, a single one into its left and right halves. Each
half is predicted by a short training on the other; the model itself is trained on all
of them. Images of one source look alike, so the score can be too high for others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from registry.decoding import coarse_logits, full_size
from registry.network import ClassInfo, Network
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.upsample import decide
from segapp.pipeline.training.features import EncodedView, Prepared, features_for
from segapp.pipeline.training.metrics import channels, confusion, dices, ious, mean

BASELINES = ("base", "trivial")  # kinds of comparison; trivial is the majority class


@dataclass(frozen=True)
class Fold:
    """Indices of the examples to train on and to evaluate on.

    train_half is None with whole images; with a single one it is the half (0 left,
    1 right) that is trained on, and the other is held out.
    """

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    train_half: int | None = None


@dataclass
class HeldOut:
    """A held-out example: its truth, the predicted ids and the baseline's ids, each uint8 H,W; and the interior map,
    uint8 h,w on the places of inference.Prediction's, where object numbers were given."""

    index: int
    truth: np.ndarray
    predicted: np.ndarray
    baseline: np.ndarray
    interior: np.ndarray | None = None


def folds(examples: int) -> list[Fold]:
    """Two folds that hold every example out once, or the halves of the only one."""
    if examples == 1:
        return [Fold((0,), (0,), train_half=half) for half in (0, 1)]
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


def held_out_part(truth: np.ndarray, fold: Fold) -> np.ndarray:
    """The truth with everything that the fold may have been trained on set to IGNORE."""
    if fold.train_half is None:
        return truth
    middle = truth.shape[1] // 2
    part = truth.copy()
    part[np.s_[:, :middle] if fold.train_half == 0 else np.s_[:, middle:]] = IGNORE
    return part


def trained_part(truth: np.ndarray, fold: Fold) -> np.ndarray:
    """The truth with everything that the fold is not trained on set to IGNORE."""
    if fold.train_half is None:
        return truth
    other = replace(fold, train_half=1 - fold.train_half)
    return held_out_part(truth, other)


def predict_view(
    network: Network,
    view: EncodedView,
    shape: tuple[int, int],
    classes: Sequence[ClassInfo],
    coarse: Tensor | None = None,
) -> np.ndarray:
    """The network's mask (uint8 H,W of ids) for a plain view's image at its own size. `coarse`: what `logits_of` gave,
    where the caller has it already."""
    return decide(full_logits_of(network, view, coarse), *shape, classes)[0]


def full_logits_of(network: Network, view: EncodedView, coarse: Tensor | None = None) -> Tensor:
    """The network's logits K,H,W for a plain view at the view's size, float32 on the CPU; `coarse` as above."""
    height, width = view.size
    with torch.inference_mode():
        logits = full_size(network, logits_of(network, view) if coarse is None else coarse)
        return logits[0, :, :height, :width].float().cpu()


def predict_coarse(network: Network, view: EncodedView, coarse: Tensor | None = None) -> np.ndarray:
    """The network's channels (uint8 H/4,W/4) for a plain view, as its target has them: quick, for scores on the way."""
    logits = logits_of(network, view) if coarse is None else coarse
    return logits[0].argmax(dim=0).to(torch.uint8).cpu().numpy()


def logits_of(network: Network, view: EncodedView) -> Tensor:
    """The network's logits 1,K,H/4,W/4 for a plain view."""
    with torch.inference_mode():
        return coarse_logits(network, features_for(network, view))


def majority_class(truths: Sequence[np.ndarray], classes: Sequence[ClassInfo]) -> int:
    """The id that most pixels of `truths` (ids) have: the trivial baseline."""
    counts = sum((np.bincount(t.ravel(), minlength=256) for t in truths), np.zeros(256, np.int64))
    return max(classes, key=lambda c: int(counts[c.id])).id


def score(held_out: Sequence[HeldOut], classes: Sequence[ClassInfo], kind: str, method: str) -> dict[str, Any]:
    """The run's metrics, JSON-ready, over all held-out pixels together.

    kind says what the comparison is, one of BASELINES.
    """
    ids = [c.id for c in classes]
    own = np.zeros((len(ids), len(ids)), dtype=np.int64)
    other = np.zeros_like(own)
    seen = np.zeros(len(ids), dtype=np.int64)
    for item in held_out:
        truth = channels(item.truth, ids)
        own += confusion(truth, channels(item.predicted, ids), len(ids))
        other += confusion(truth, channels(item.baseline, ids), len(ids))
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
                **_baseline_figures(kind, _rounded(other_iou[k]), _rounded(other_dice[k])),
                "images": int(seen[k]),
            }
            for k, c in enumerate(classes)
        ],
        "comparison": {"kind": kind, "miou": _rounded(other_miou)},
        "better": better,
        "held_out": method,
        "sentence": sentence(miou, other_miou, kind, len(held_out)),
    }


def _baseline_figures(kind: str, iou: float | None, dice: float | None) -> dict[str, float | None]:
    """A class's figures of both kinds of baseline; None for the kind that was not compared with."""
    values = {"iou": iou, "dice": dice}
    return {f"{one}_{name}": values[name] if one == kind else None for one in BASELINES for name in values}


def sentence(miou: float | None, other: float | None, kind: str, images: int) -> str:
    """The score as a sentence for the visitor."""
    if miou is None or other is None:
        return "Training was stopped before the model could be scored, so how good it is is unknown."
    held = "the held-out half of your image" if images == 1 else f"{images} held-out images"
    baseline = "the base model" if kind == "base" else "always guessing the most common class"
    text = f"On {held} the model reaches a mean IoU of {miou:.2f}; {baseline} reaches {other:.2f}."
    if miou > other:
        return text
    return (
        text + " So this model is not better. Add more or more varied images, check the masks, or use the base model."
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
