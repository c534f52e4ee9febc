"""Cross-validation beside a training: a short training for each fold, the evaluator that reports their score on the
way, and the final score, from which also follows how far the model's weights are interpolated."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from registry.decoding import coarse_logits
from registry.detail import DetailBranch
from registry.network import Network
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.inference.guided import RADIUS, guided
from segapp.pipeline.inference.upsample import decide, largest
from segapp.pipeline.training.choices import choices_of
from segapp.pipeline.training.cross_validation import (
    Fold,
    HeldOut,
    folds,
    full_logits_of,
    held_out_part,
    logits_of,
    majority_class,
    only_half,
    predict_coarse,
    predict_view,
    score,
    trained_part,
)
from segapp.pipeline.training.detail import train_detail
from segapp.pipeline.training.features import TARGET_STRIDE, FeatureCache, Prepared, prepare
from segapp.pipeline.training.init import class_map
from segapp.pipeline.training.job import Job
from segapp.pipeline.training.knowledge import knowledge
from segapp.pipeline.training.loop import Trainee, TrainingFailed
from segapp.pipeline.training.metrics import channels, confusion, ious, mean
from segapp.pipeline.training.renaming import answer_of, knowledge_by_strokes
from segapp.pipeline.training.schedule import Schedule, TrainingTask

MAX_BASE_PREDICTIONS = 6  # held-out images for which the base's own prediction is kept for display
ALPHAS = (0.25, 0.5, 0.75, 1.0)  # tried for the interpolation between initial and trained weights
# Mean IoU on held-out images from which a detail branch is kept, where settings ask for one. Folds train a sixth as
# long as the model that is kept, so they make the branch look better than it is beside that one.
MIN_DETAIL_GAIN = 0.03
TOLERANCE = 0.005  # mean IoU below which a difference does not justify a larger alpha
EVALUATION_SHARE = 0.07  # of the time that evaluations may take, unless MAX_INTERVAL asks for more
MAX_INTERVAL = 8.0  # seconds between two evaluations

Tables = tuple[np.ndarray, np.ndarray]  # confusion matrices without a change and with it


@dataclass
class FoldTraining:
    """A short training on one fold; its network predicts what the fold holds out."""

    fold: Fold
    prepared: Sequence[Prepared]
    features: FeatureCache
    trainee: Trainee
    task: TrainingTask
    detail: DetailBranch | None = None
    scored: Network = None  # the one that predicted what is held out


def start_cross_validation(job: Job) -> list[FoldTraining]:
    """A training for each fold, ready to run; sets and reports the baseline that the score is compared with.

    They start from the base also where the run continues the visitor's own model: that one has been trained on the
    images that are held out here.
    """
    job.knowledge = _knowledge(job)
    job.vary_views()
    parts = folds(len(job.examples))
    for fold in parts:
        for index in fold.held_out:
            job.baselines.setdefault(index, _baseline(job, fold, index))
            if _baseline_kind(job) == "trivial" and len(job.base_predictions) < MAX_BASE_PREDICTIONS:
                job.base_predictions.setdefault(index, _base_prediction(job, index))
            job.progress.report()
    job.progress.baseline = {"kind": _baseline_kind(job), "miou": _baseline_miou(job)}
    trainings = []
    for fold in parts:
        prepared, features = _data_of(job, fold)
        job.progress.report()
        trainee = job.new_trainee(features, fold.train, start=job.base)
        trainings.append(FoldTraining(fold, prepared, features, trainee, TrainingTask(job.progress)))
    return trainings


def fold_steps(job: Job, training: FoldTraining, schedule: Schedule) -> Iterator[None]:
    """The training on a fold, one step for each `next`.

    One that diverges, as may happen with a few strokes on half of the images, is judged by the weights it started
    with: that is no reason to end the training of the model that is kept.
    """
    on_step = training.task.stage(0.0, 1.0)
    try:
        yield from job.train_decoder(training.trainee, training.features, training.fold.train, schedule, on_step)
    except TrainingFailed:
        training.trainee.reset()


def score_folds(job: Job, trainings: Sequence[FoldTraining]) -> None:
    """Predict every example by the training that did not see it, into job.held_out, and choose job.alpha, or
    job.use_detail where the encoder adapts and a detail branch is to be tried, and job.guided.

    What a fold is scored with is chosen on the other fold's held-out examples, so that the score is unbiased.
    """
    if job.fits_head_only:
        _keep_heads(job, trainings)
    elif not job.adapts:
        _interpolate(job, trainings)
    elif job.settings.detail:
        _try_detail(job, trainings)
    else:
        _keep_adapted(trainings)
    for training, radius in zip(trainings, _choose_guided(job, trainings), strict=True):
        for index in training.fold.held_out:
            predict_held_out(job, training, index, radius)
    job.progress.miou = metrics_of(job)["miou"]


def _keep_heads(job: Job, trainings: Sequence[FoldTraining]) -> None:
    """Strokes on a subject that the base knows: the fitted head is kept as it is."""
    job.alpha = 0.0
    for training in trainings:
        training.scored = training.trainee.interpolated(job.alpha)


def _interpolate(job: Job, trainings: Sequence[FoldTraining]) -> None:
    """The base knows the subject: go only as far from it as that helps."""
    curves = [_alpha_curve(job, training) for training in trainings]
    for training, other in zip(trainings, reversed(curves), strict=True):
        training.scored = training.trainee.interpolated(best_alpha([other]))
    if curves:
        job.alpha = best_alpha(curves)


def _keep_adapted(trainings: Sequence[FoldTraining]) -> None:
    """The subject is new: go all the way, since folds that see half as much for a shorter time would always stay too
    near the start."""
    for training in trainings:
        training.scored = training.trainee.ema


def _try_detail(job: Job, trainings: Sequence[FoldTraining]) -> None:
    """The same, with a detail branch where it helps."""
    _keep_adapted(trainings)
    branches = [
        train_detail(job.base, training.prepared, training.fold.train, len(job.spec.classes), job.seed)
        for training in trainings
    ]
    pairs = list(zip(trainings, branches, strict=True))
    tables = [_tables(job, training, partial(_with_detail, job, branch)) for training, branch in pairs]
    for (training, branch), other in zip(pairs, reversed(tables), strict=True):
        training.detail = branch if gain([other]) >= MIN_DETAIL_GAIN else None
    if tables and all(branch is not None for branch in branches):
        job.detail_gain = gain(tables)
        job.use_detail = job.detail_gain >= MIN_DETAIL_GAIN


def _choose_guided(job: Job, trainings: Sequence[FoldTraining]) -> list[int]:
    """Set job.guided to the radius within which borders are to follow the image's edges, 0 where that does not help;
    returns with which each fold is scored.

    It is not tried with strokes, which do not say where objects end, nor where images are seen larger because a class
    is thin: windows far wider than a class wash it out.
    """
    thin = job.spec.input_size > job.base.spec.input_size
    if job.shares is not None or thin or not trainings:
        return [0] * len(trainings)
    tables = [_tables(job, training, partial(_guided, job, RADIUS)) for training in trainings]
    job.guided_gain = gain(tables)
    job.guided = RADIUS if job.guided_gain > 0 else 0
    return [RADIUS if gain([other]) > 0 else 0 for other in reversed(tables)]


def gain(tables: Sequence[Tables]) -> float:
    """Mean IoU that a change adds: each entry has confusion matrices of one fold without it and with it."""
    without, with_it = (mean(ious(np.sum([pair[k] for pair in tables], axis=0))) or 0.0 for k in (0, 1))
    return with_it - without


def _tables(job: Job, training: FoldTraining, changed: Callable[[int, Tensor], Tensor]) -> Tables:
    """Confusion matrices on what the fold holds out, at the network's size: of its logits K,H,W of each example, and
    of what `changed` makes of them."""
    classes = len(job.spec.classes)
    tables = np.zeros((2, classes, classes), dtype=np.int64)
    for index in training.fold.held_out:
        truth = held_out_part(job.prepared[index].mask, training.fold)
        logits = _held_out_logits(job, training, index)
        for table, found in zip(tables, (logits, changed(index, logits)), strict=True):
            table += confusion(truth, largest(found.numpy()), classes)
    return tables[0], tables[1]


def _held_out_logits(job: Job, training: FoldTraining, index: int) -> Tensor:
    """An example's logits K,H,W at the network's size, of what a fold is scored with."""
    logits = full_logits_of(training.scored, job.base_features.get(index, 0))
    return _with_detail(job, training.detail, index, logits)


def _with_detail(job: Job, detail: DetailBranch | None, index: int, logits: Tensor) -> Tensor:
    """An example's logits K,H,W and a detail branch's together."""
    if detail is None:
        return logits
    with torch.inference_mode():
        added = detail(normalised(job.prepared[index].image, job.base))
    return logits + added[0, :, : logits.shape[1], : logits.shape[2]].float().cpu()


def _guided(job: Job, radius: int, index: int, logits: Tensor) -> Tensor:
    """An example's logits K,H,W, their borders moved to the edges of its image within `radius`."""
    return guided(logits, job.prepared[index].image, radius) if radius else logits


def best_alpha(curves: Sequence[Mapping[float, np.ndarray]]) -> float:
    """The smallest alpha whose mean IoU, over the confusion matrices of all curves, is within TOLERANCE of the best."""
    scores = {alpha: mean(ious(np.sum([curve[alpha] for curve in curves], axis=0))) or 0.0 for alpha in curves[0]}
    return min(alpha for alpha, value in scores.items() if value >= max(scores.values()) - TOLERANCE)


def _alpha_curve(job: Job, training: FoldTraining) -> dict[float, np.ndarray]:
    """For each of ALPHAS, the confusion matrix on what the fold holds out, at a quarter of the input size."""
    classes = len(job.spec.classes)
    networks = {alpha: training.trainee.interpolated(alpha) for alpha in ALPHAS}
    curve = {alpha: np.zeros((classes, classes), dtype=np.int64) for alpha in networks}
    for index in training.fold.held_out:
        view = job.base_features.get(index, 0)
        for alpha, network in networks.items():
            curve[alpha] += _coarse_table(job, training, index, predict_coarse(network, view))
    return curve


def _coarse_table(job: Job, training: FoldTraining, index: int, predicted: np.ndarray) -> np.ndarray:
    """Confusion matrix of an image's channels at a quarter of the network's size, on what the fold holds out."""
    half = TARGET_STRIDE // 2
    truth = held_out_part(job.prepared[index].mask, training.fold)[half::TARGET_STRIDE, half::TARGET_STRIDE]
    return confusion(truth, predicted[: truth.shape[0], : truth.shape[1]], len(job.spec.classes))


def predict_held_out(job: Job, training: FoldTraining, index: int, radius: int) -> None:
    """Predict an example, or the half of it that the fold holds out, and add it to job.held_out; `radius` as a spec's
    `guided`."""
    example, fold = job.examples[index], training.fold
    logits = _guided(job, radius, index, _held_out_logits(job, training, index))
    predicted, _ = decide(logits, example.mask.shape[0], example.mask.shape[1], job.spec.classes)
    truth = held_out_part(example.mask, fold)
    known = [item for item in job.held_out if item.index == index]
    if known:  # the other half of the same image
        labelled = truth != IGNORE
        known[0].truth[labelled] = truth[labelled]
        known[0].predicted[labelled] = predicted[labelled]
    else:
        job.held_out.append(HeldOut(index, truth.copy(), predicted, job.baselines[index]))


def metrics_of(job: Job) -> dict[str, Any]:
    """The metrics over all held-out predictions so far, JSON-ready."""
    if len(job.examples) == 1:
        method = "Each half of the image was scored by a shorter training on the other half."
    else:
        method = "Each image was scored by a shorter training that had not seen it (two folds)."
    found = score(job.held_out, job.spec.classes, _baseline_kind(job), method)
    choices = [*choices_of(job), *([job.cut_short] if job.cut_short else [])]
    return {**found, "choices": choices, "sentence": " ".join([found["sentence"], *choices])}


class Evaluator:
    """Reports the held-out score and one predicted image during the training; called after every step.

    An evaluation runs the decoder on cached features, and scores at a quarter of the network's size. The first one
    covers every image, later ones the previewed image and the next of the others, so the score is over the latest
    prediction of each image.
    """

    def __init__(self, job: Job, trainings: Sequence[FoldTraining]) -> None:
        self._job = job
        places = [(training, index) for training in trainings for index in training.fold.held_out]
        self._previewed = max(places, key=lambda place: len(np.unique(job.prepared[place[1]].mask)))
        self._others = [place for place in places if place is not self._previewed]
        self._places = [self._previewed, *self._others]
        self._tables: list[np.ndarray] = []  # confusion matrices, in the order of _places
        self._next = 0
        self._due = float("-inf")
        self.seconds = 0.0  # that the first evaluation took, over every image

    def __call__(self) -> None:
        clock, progress = self._job.progress.clock, self._job.progress
        began = clock()
        if began < self._due:
            return
        ids = self._preview()
        spent = 2 * (clock() - began)
        if len(self._tables) < len(self._places):
            progress.report(preview=(self._previewed[1], ids))
            for number in range(1, len(self._places)):
                self._evaluate(number)
                progress.report()
            self.seconds = clock() - began
        elif self._others:
            self._next = self._next % len(self._others) + 1
            self._evaluate(self._next)
        progress.miou = mean(ious(sum(self._tables, np.zeros_like(self._tables[0]))))
        interval = max(self._job.settings.evaluation_interval, spent / EVALUATION_SHARE)
        self._due = clock() + min(max(MAX_INTERVAL, self._job.settings.evaluation_interval), interval)
        progress.report(preview=(self._previewed[1], ids))

    def _evaluate(self, number: int) -> Tensor:
        """Predict an image by its fold's EMA and update its matrix; returns the logits."""
        training, index = self._places[number]
        view = self._job.base_features.get(index, 0)
        network = training.trainee.ema
        logits = logits_of(network, view)
        table = _coarse_table(self._job, training, index, predict_coarse(network, view, logits))
        if number < len(self._tables):
            self._tables[number] = table
        else:
            self._tables.append(table)
        return logits

    def _preview(self) -> np.ndarray:
        """Evaluate the previewed image, and its ids, uint8 H,W at the network's size."""
        logits = self._evaluate(0)
        training, index = self._previewed
        view = self._job.base_features.get(index, 0)
        return predict_view(training.trainee.ema, view, view.size, self._job.spec.classes, coarse=logits)


def _baseline_kind(job: Job) -> str:
    """The kind "base" when the base knows all classes by name, otherwise "trivial", the majority class."""
    shared = class_map(job.base.spec.classes, job.spec.classes)
    wanted = {c.id for c in job.spec.classes if c.name.strip().casefold() != "background"}
    return "base" if wanted and wanted <= set(shared.values()) else "trivial"


def _baseline_miou(job: Job) -> float | None:
    """The baseline's mIoU over all examples."""
    ids = [c.id for c in job.spec.classes]
    table = np.zeros((len(ids), len(ids)), dtype=np.int64)
    for index, baseline in job.baselines.items():
        table += confusion(channels(job.examples[index].mask, ids), channels(baseline, ids), len(ids))
    return mean(ious(table))


def _baseline(job: Job, fold: Fold, index: int) -> np.ndarray:
    """The base's ids where classes agree by name, otherwise the majority class of what the fold is trained on."""
    shape = (job.examples[index].mask.shape[0], job.examples[index].mask.shape[1])
    truths = [trained_part(job.examples[i].mask, fold) for i in fold.train]
    majority = majority_class(truths, job.spec.classes)
    if _baseline_kind(job) == "trivial":
        return np.full(shape, majority, dtype=np.uint8)
    blank = np.full(shape, IGNORE, dtype=np.uint8)
    prepared = prepare(job.examples[index].image, blank, job.base.spec.input_size)
    view = FeatureCache(job.base, [prepared], job.seed).get(0, 0)
    predicted = predict_view(job.base.module, view, shape, job.base.spec.classes)
    names = {c.name.strip().casefold(): c.id for c in job.spec.classes}
    table = np.full(256, names.get("background", majority), dtype=np.uint8)
    for theirs, ours in class_map(job.base.spec.classes, job.spec.classes).items():
        table[theirs] = ours
    return table[predicted]


def _base_prediction(job: Job, index: int) -> np.ndarray:
    """The base's prediction in its own classes (uint8 H,W of ids, at the network's size) where they are not ours."""
    view = job.features.get(index, 0)
    if job.root.module.encoder is not job.base.module.encoder:
        view = FeatureCache(job.base, [job.prepared[index]], job.seed).get(0, 0)
    return predict_view(job.base.module, view, view.size, job.base.spec.classes)


def _knowledge(job: Job) -> float:
    """How well the base's own answers, renamed, fit the examples, at a quarter of the input size."""
    base = job.base.module
    if job.shares is not None:
        answers = [answer_of(base, job.base_features.get(index, 0)) for index in range(len(job.examples))]
        return knowledge_by_strokes(answers, job.shares)
    predicted, truths = [], []
    for index in range(len(job.examples)):
        view = job.base_features.get(index, 0)
        with torch.inference_mode():
            logits = coarse_logits(base, view.features)
        predicted.append(logits[0].argmax(dim=0).to(torch.uint8).cpu().numpy())
        truths.append(view.target.cpu().numpy().astype(np.uint8))
    return knowledge(predicted, truths, len(job.base.spec.classes), len(job.spec.classes))


def _data_of(job: Job, fold: Fold) -> tuple[Sequence[Prepared], FeatureCache]:
    """The images with features by the base's encoder, or the half of a single image that the fold is trained on."""
    if fold.train_half is None:
        return job.prepared, job.base_features
    half = [only_half(p, fold.train_half) for p in job.prepared]
    features = FeatureCache(job.base, half, job.seed, job.progress.report)
    features.variation, features.adapted = job.features.variation, job.features.adapted
    return half, features
