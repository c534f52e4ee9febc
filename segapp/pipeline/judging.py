"""The held-out score of a training: short trainings on the folds, and what they are held to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from registry.network import Network
from segapp.pipeline import holdout
from segapp.pipeline.features import IGNORE, Views, prepare
from segapp.pipeline.holdout import Fold
from segapp.pipeline.job import Job
from segapp.pipeline.metrics import confusion, ious, mean
from segapp.pipeline.pace import Schedule
from segapp.pipeline.stages import Student
from segapp.pipeline.start import class_map

JUDGING = {"quick": 0.25, "thorough": 0.12}  # share of the time that goes into the score
FOLD_STEPS = (6, 9, 13, 20, 30, 45, 60)  # that a fold may take
FOLDS_OF = {"quick": 5.0, "thorough": 1.5}  # times as many steps, at least, has the training that is kept
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the way from a training's start to its end that a model may go
NEAR = 0.005  # mean IoU that is no reason to go further


def judge(job: Job, steps: int | None) -> None:
    """Score every example by a short training without it; the results go into job.judged.

    Also sets job.share. The share that a fold is scored with is chosen on the other
    fold's examples, so that the score stays honest.
    """
    part = JUDGING[job.effort]
    folds = holdout.folds(len(job.examples))
    students, curves = [], []
    taken = None if steps is None else fold_steps(job.effort, steps)
    for number, fold in enumerate(folds):
        left = job.pace.seconds * part - job.pace.elapsed
        schedule = Schedule(job.pace.clock, steps=taken, seconds=max(0.5, left / len(folds)), totals=FOLD_STEPS)
        views = _views_of(job, fold)
        job.student = job.begin(views, fold.learn)
        weights = job.class_weights(views, fold.learn)
        share = (part * number / len(folds), part * (number + 1) / len(folds))
        job.train_decoder(views, fold.learn, schedule, weights, share)
        taken = schedule.step
        students.append(job.student)
        curves.append(_curve(job, job.student, fold))
        job.student = None
    for fold, student, others in zip(folds, students, reversed(curves), strict=True):
        network = student.blended(best_share([others]))
        for index in fold.judge:
            judge_one(job, network, fold, index)
    job.share = best_share(curves)
    job.fold_steps = taken or 0
    job.pace.miou = metrics_of(job)["miou"]


def fold_steps(effort: str, steps: int) -> int:
    """Steps of a fold where the training that is kept takes `steps`: so these alone decide the whole run."""
    return max([FOLD_STEPS[0], *(n for n in FOLD_STEPS if n * FOLDS_OF[effort] <= steps)])


def totals(effort: str, taken: int, most: int) -> range:
    """Steps that the training that is kept may take after folds of `taken`: those of which fold_steps says `taken`."""
    least = round(FOLDS_OF[effort] * taken) if taken > FOLD_STEPS[0] else 3
    above = [round(FOLDS_OF[effort] * n) for n in FOLD_STEPS if n > taken]
    return range(least, max(least + 1, min([most + 1, *above])), 3)


def best_share(curves: Sequence[Mapping[float, np.ndarray]]) -> float:
    """The smallest share whose mean IoU, over the confusions of all curves, is about the best."""
    scores = {share: mean(ious(np.sum([curve[share] for curve in curves], axis=0))) or 0.0 for share in curves[0]}
    return min(share for share, score in scores.items() if score >= max(scores.values()) - NEAR)


def _curve(job: Job, student: Student, fold: Fold) -> dict[float, np.ndarray]:
    """For each of SHARES, the confusion on what the fold judges, at a quarter of the input size."""
    classes = len(job.spec.classes)
    networks = {share: student.blended(share) for share in SHARES}
    curve = {share: np.zeros((classes, classes), dtype=np.int64) for share in SHARES}
    for index in fold.judge:
        view = job.views.get(index, 0)
        truth = holdout.judged_part(view.target.cpu().numpy().astype(np.uint8), fold)
        for share, network in networks.items():
            with torch.inference_mode():
                found = network.segmentation_head[0](network.decoder(list(view.features)))[0].argmax(dim=0)
            curve[share] += confusion(truth, found.cpu().numpy(), classes)
        job.pace.tick()
    return curve


def judge_one(job: Job, network: Network, fold: Fold, index: int) -> None:
    """Let a fold's network answer for an example (or the half) it has not learnt from."""
    example = job.examples[index]
    shape = (example.mask.shape[0], example.mask.shape[1])
    found = holdout.mask_of(network, job.views.get(index, 0), shape, job.spec.classes)
    truth = holdout.judged_part(example.mask, fold)
    known = [j for j in job.judged if j.index == index]
    if known:  # the other half of the same picture
        seen = truth != IGNORE
        known[0].truth[seen] = truth[seen]
        known[0].found[seen] = found[seen]
    else:
        other = _comparison(job, fold, index, shape)
        job.judged.append(holdout.Judged(index, truth.copy(), found, other))
    job.pace.tick(preview=(index, found))


def metrics_of(job: Job) -> dict[str, Any]:
    """The metrics over all that has been judged so far."""
    if len(job.examples) == 1:
        how = "Each half of the picture was scored by a shorter training on the other half."
    else:
        how = "Each picture was scored by a shorter training that had not seen it (two folds)."
    return holdout.score(job.judged, job.spec.classes, _kind(job), how)


def _kind(job: Job) -> str:
    """Whether the base knows all classes by name, so that it can be compared with."""
    shared = class_map(job.base.spec.classes, job.spec.classes)
    wanted = {c.id for c in job.spec.classes if c.name.strip().casefold() != "background"}
    return "base" if wanted and wanted <= set(shared.values()) else "trivial"


def _comparison(job: Job, fold: Fold, index: int, shape: tuple[int, int]) -> np.ndarray:
    """What the base says where classes agree by name, else the most common class learnt from."""
    learnt = [holdout.learnt_part(job.examples[i].mask, fold) for i in fold.learn]
    common = holdout.majority(learnt, job.spec.classes)
    if _kind(job) == "trivial":
        return np.full(shape, common, dtype=np.uint8)
    blank = np.full(shape, IGNORE, dtype=np.uint8)
    prepared = prepare(job.examples[index].image, blank, job.base.spec.input_size)
    view = Views(job.base, [prepared], job.seed).get(0, 0)
    found = holdout.mask_of(job.base.module, view, shape, job.base.spec.classes)
    names = {c.name.strip().casefold(): c.id for c in job.spec.classes}
    table = np.full(256, names.get("background", common), dtype=np.uint8)
    for theirs, ours in class_map(job.base.spec.classes, job.spec.classes).items():
        table[theirs] = ours
    return table[found]


def _views_of(job: Job, fold: Fold) -> Views:
    """The job's views, or those of one picture's half that may be learnt from."""
    if fold.learn_half is None:
        return job.views
    half = [holdout.only_half(p, fold.learn_half) for p in job.prepared]
    return Views(job.root, half, job.seed, job.pace.tick)
