"""Strokes on a subject that the base knows: the base's own answers, in the visitor's classes.

A few strokes say which of the base's classes belong to which of the visitor's. Where objects end the base says itself,
for every place of the images, also for those that are not painted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from registry.decoding import coarse_logits
from registry.network import Network
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.logistic import fit_logistic
from segapp.pipeline.training.features import TARGET_STRIDE, EncodedView
from segapp.pipeline.training.init import sample

# docs/engine.md has the measurements.
SMOOTHING = 0.1  # of what strokes say of the base's answers: so much of it is what the base answers anywhere
MAX_FOLDS = 5
MAX_PLACES = 10_000  # with renamed answers that the head is fitted to, over all images
STROKES_WEIGHT = 0.3  # of all strokes together, every class as much, beside all of these places
PENALTY = 0.2  # on the head's weights, over the square of the number of classes


@dataclass(frozen=True)
class Answer:
    """What the base says of a plain view, at a quarter of its size and without padding: probabilities C,h,w of its
    classes; target h,w int64 of the visitor's channels with IGNORE. On the CPU."""

    probabilities: Tensor
    target: Tensor


def answer_of(base: Network, view: EncodedView) -> Answer:
    with torch.no_grad():
        logits = coarse_logits(base, view.features)[0].cpu()
    height, width = _places(view)
    return Answer(torch.softmax(logits[:, :height, :width], dim=0), view.target[:height, :width].cpu())


def renaming_of(answers: Sequence[Answer], shares: Tensor) -> Tensor:
    """Which of the visitor's classes the base's classes belong to: probabilities (K,C), each column's sum is 1; 0 for a
    class without a stroke.

    Classes count by the root of their estimated `shares` (K) of the images. With the shares themselves an estimate that
    is somewhat wrong takes all of a class for another of which the base says the same; without them rare classes
    are found too often.
    """
    usual = torch.stack([one.probabilities.flatten(1).mean(dim=1) for one in answers]).mean(dim=0)
    counts = torch.zeros(len(shares), len(usual))
    for one in answers:
        painted = one.target != IGNORE
        counts.index_add_(0, one.target[painted], one.probabilities[:, painted].T.contiguous())
    strokes = counts.sum(dim=1, keepdim=True)
    within = (1 - SMOOTHING) * counts / strokes.clamp(min=1e-6) + SMOOTHING * usual
    common = shares.sqrt()[:, None] * within * (strokes > 0)
    return common / common.sum(dim=0).clamp(min=1e-9)


def renamed(renaming: Tensor, probabilities: Tensor) -> Tensor:
    """Channels (N) of the visitor's classes for probabilities C,N of the base's."""
    return (renaming @ probabilities).argmax(dim=0)


def knowledge_by_strokes(answers: Sequence[Answer], shares: Tensor) -> float:
    """How much of the way from guessing to perfect (mean recall of the classes) the renamed answers go on strokes of
    images that did not take part in the renaming; may be below 0.

    The recall of a class does not depend on how much of the images it covers, which strokes do not say. With a single
    image its left and right halves stand for two.
    """
    classes = len(shares)
    if len(answers) == 1:
        answers = _halves(answers[0])
    table = torch.zeros(classes, classes)
    number = min(len(answers), MAX_FOLDS)
    for fold in range(number):
        others = [one for k, one in enumerate(answers) if k % number != fold]
        if not any(bool((one.target != IGNORE).any()) for one in others):
            continue
        renaming = renaming_of(others, shares)
        for one in answers[fold::number]:
            painted = one.target != IGNORE
            pairs = one.target[painted] * classes + renamed(renaming, one.probabilities[:, painted])
            table += torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    shown = table.sum(dim=1) > 0
    known = int(shown.sum())
    if known < 2:
        return 0.0
    recall = float((table.diagonal()[shown] / table.sum(dim=1)[shown]).mean())
    return (recall - 1 / known) / (1 - 1 / known)


def fit_renamed_head(base: Network, views: Sequence[EncodedView], shares: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Weight (classes, channels) and bias (classes) by logistic regression on the base's decoder features: of places
    anywhere with the base's renamed answers, and of the strokes.

    `shares` (classes) as of `renaming_of`. A class without strokes gets a row of zeros and the lowest bias.
    """
    answers = [answer_of(base, view) for view in views]
    classes = len(shares)
    renaming = renaming_of(answers, shares)
    painted, strokes, _ = sample(base.decoder, views, classes, seed)
    generator = torch.Generator().manual_seed(seed)
    limit = max(1, MAX_PLACES // len(views))
    features, labels = [], []
    for view, answer in zip(views, answers, strict=True):
        height, width = _places(view)
        where = torch.randperm(height * width, generator=generator)[:limit]
        with torch.no_grad():
            found = base.decoder(list(view.features))[0, :, :height, :width].flatten(1).cpu()
        features.append(found[:, where].T)
        labels.append(renamed(renaming, answer.probabilities.flatten(1)[:, where]))
    stroke_weight = 1.0 / torch.bincount(strokes, minlength=classes).clamp(min=1)[strokes]
    places = torch.cat(labels)
    anywhere = torch.full((len(places),), 1.0 / len(places))
    counted = torch.cat([anywhere, STROKES_WEIGHT * stroke_weight / stroke_weight.sum().clamp(min=1e-6)])
    device = next(base.parameters()).device
    every = torch.cat([*features, painted]).to(device)
    scale = every.std(dim=0, correction=0).mean().clamp(min=1e-6)
    target = torch.cat([places, strokes]).to(device)
    weights = (counted / counted.sum()).to(device)
    even = torch.ones(classes, device=device)
    weight, bias = fit_logistic(every / scale, target, even, l2=PENALTY / classes**2, place_weights=weights)
    absent = torch.bincount(target, minlength=classes) == 0
    weight[absent], bias[absent] = 0.0, bias[~absent].min() - 4.0
    return weight / scale, bias


def _places(view: EncodedView) -> tuple[int, int]:
    """Height and width of a view without its padding, in places of the targets."""
    height, width = (-(-side // TARGET_STRIDE) for side in view.size)
    return height, width


def _halves(answer: Answer) -> list[Answer]:
    middle = answer.target.shape[1] // 2
    parts = (slice(None, middle), slice(middle, None))
    return [Answer(answer.probabilities[:, :, part], answer.target[:, part]) for part in parts]
