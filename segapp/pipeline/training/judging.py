"""The held-out score of a training: short trainings on the folds beside it, and what they are held to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from registry.network import Network
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.training import cross_validation as holdout
from segapp.pipeline.training.cross_validation import Fold
from segapp.pipeline.training.features import Views, prepare
from segapp.pipeline.training.init import class_map
from segapp.pipeline.training.job import Job
from segapp.pipeline.training.loop import Student
from segapp.pipeline.training.metrics import channels, confusion, ious, mean
from segapp.pipeline.training.schedule import Schedule
from segapp.pipeline.training.turns import Course

SHOWN = 6  # held-out images on which the base's own answer can be looked at
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the way from a training's start to its end that a model may go
NEAR = 0.005  # mean IoU that is no reason to go further


@dataclass
class Rehearsal:
    """A short training on one fold; its network answers for what the fold has not learnt from."""

    fold: Fold
    views: Views
    student: Student
    course: Course


def rehearse(job: Job) -> list[Rehearsal]:
    """A rehearsal for each fold, ready to train; says at once what they will be held to.

    Rehearsals start from the base also where the run goes on from the visitor's own model: that one has seen the
    images it would be judged by.
    """
    folds = holdout.folds(len(job.examples))
    for fold in folds:
        for index in fold.judge:
            job.rivals.setdefault(index, _comparison(job, fold, index))
            if _kind(job) == "trivial" and len(job.base_says) < SHOWN:
                job.base_says.setdefault(index, _base_says(job, index))
            job.pace.tick()
    job.pace.rival = {"kind": _kind(job), "miou": _rival_score(job)}
    found = []
    for fold in folds:
        views = _views_of(job, fold)
        job.pace.tick()
        found.append(Rehearsal(fold, views, job.begin(views, fold.learn, start=job.base), Course(job.pace)))
    return found


def rehearsal_steps(job: Job, one: Rehearsal, schedule: Schedule) -> Iterator[None]:
    """The training of a rehearsal, one step for each `next`."""
    yield from job.train_decoder(one.student, one.views, one.fold.learn, schedule, one.course.hear(0.0, 1.0))


def judge(job: Job, rehearsals: Sequence[Rehearsal]) -> None:
    """Score every example by the rehearsal that has not learnt from it; the results go into job.judged.

    Also sets job.share. The share that a fold is scored with is chosen on the other fold's examples, so that the score
    stays honest.
    """
    curves = [_curve(job, one) for one in rehearsals]
    for one, others in zip(rehearsals, reversed(curves), strict=True):
        network = one.student.blended(best_share([others]))
        for index in one.fold.judge:
            judge_one(job, network, one.fold, index)
    if curves:
        job.share = best_share(curves)
    job.pace.miou = metrics_of(job)["miou"]


def best_share(curves: Sequence[Mapping[float, np.ndarray]]) -> float:
    """The smallest share whose mean IoU, over the confusions of all curves, is about the best."""
    scores = {share: mean(ious(np.sum([curve[share] for curve in curves], axis=0))) or 0.0 for share in curves[0]}
    return min(share for share, score in scores.items() if score >= max(scores.values()) - NEAR)


def _curve(job: Job, one: Rehearsal) -> dict[float, np.ndarray]:
    """For each of SHARES, the confusion on what the rehearsal's fold judges, at a quarter of the input size."""
    classes = len(job.spec.classes)
    networks = {share: one.student.blended(share) for share in SHARES}
    curve = {share: np.zeros((classes, classes), dtype=np.int64) for share in networks}
    for index in one.fold.judge:
        view = job.unseeing_views.get(index, 0)
        truth = holdout.judged_part(view.target.cpu().numpy().astype(np.uint8), one.fold)
        for share, network in networks.items():
            with torch.inference_mode():
                found = network.segmentation_head[0](network.decoder(list(view.features)))[0].argmax(dim=0)
            curve[share] += confusion(truth, found.cpu().numpy(), classes)
    return curve


def judge_one(job: Job, network: Network, fold: Fold, index: int) -> None:
    """Let a fold's network answer for an example (or the half) it has not learnt from."""
    example = job.examples[index]
    shape = (example.mask.shape[0], example.mask.shape[1])
    found = holdout.mask_of(network, job.unseeing_views.get(index, 0), shape, job.spec.classes)
    truth = holdout.judged_part(example.mask, fold)
    known = [j for j in job.judged if j.index == index]
    if known:  # the other half of the same image
        seen = truth != IGNORE
        known[0].truth[seen] = truth[seen]
        known[0].found[seen] = found[seen]
    else:
        job.judged.append(holdout.Judged(index, truth.copy(), found, job.rivals[index]))


def metrics_of(job: Job) -> dict[str, Any]:
    """The metrics over all that has been judged so far."""
    if len(job.examples) == 1:
        how = "Each half of the image was scored by a shorter training on the other half."
    else:
        how = "Each image was scored by a shorter training that had not seen it (two folds)."
    return holdout.score(job.judged, job.spec.classes, _kind(job), how)


def _kind(job: Job) -> str:
    """Whether the base knows all classes by name, so that it can be compared with."""
    shared = class_map(job.base.spec.classes, job.spec.classes)
    wanted = {c.id for c in job.spec.classes if c.name.strip().casefold() != "background"}
    return "base" if wanted and wanted <= set(shared.values()) else "trivial"


def _rival_score(job: Job) -> float | None:
    """The mIoU of the comparison over all examples."""
    ids = [c.id for c in job.spec.classes]
    table = np.zeros((len(ids), len(ids)), dtype=np.int64)
    for index, other in job.rivals.items():
        table += confusion(channels(job.examples[index].mask, ids), channels(other, ids), len(ids))
    return mean(ious(table))


def _comparison(job: Job, fold: Fold, index: int) -> np.ndarray:
    """What the base says where classes agree by name, else the most common class learnt from."""
    shape = (job.examples[index].mask.shape[0], job.examples[index].mask.shape[1])
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


def _base_says(job: Job, index: int) -> np.ndarray:
    """The base's answer in its own classes (uint8 H,W of ids, at the network's size) where they are not ours."""
    view = job.views.get(index, 0)
    if job.root.module.encoder is not job.base.module.encoder:
        view = Views(job.base, [job.prepared[index]], job.seed).get(0, 0)
    return holdout.mask_of(job.base.module, view, view.size, job.base.spec.classes)


def _views_of(job: Job, fold: Fold) -> Views:
    """The images' views by the base's encoder, or those of one image's half that may be learnt from."""
    if fold.learn_half is None:
        return job.unseeing_views
    half = [holdout.only_half(p, fold.learn_half) for p in job.prepared]
    return Views(job.base, half, job.seed, job.pace.tick)
