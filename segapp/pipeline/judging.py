"""The held-out score of a training: short trainings on the folds, and what they are held to."""

from typing import Any

import numpy as np

from registry.network import Network
from segapp.pipeline import holdout
from segapp.pipeline.features import IGNORE, Views, prepare
from segapp.pipeline.holdout import Fold
from segapp.pipeline.job import Job
from segapp.pipeline.pace import Schedule
from segapp.pipeline.start import class_map

JUDGING = {"quick": 0.3, "thorough": 0.12}  # share of the time that goes into the score


def judge(job: Job, steps: int | None) -> None:
    """Score every example by a short training without it; the results go into job.judged.

    These trainings start from the base also where the run goes on from the visitor's own model: that one has seen the
    pictures it would be judged by.
    """
    part = JUDGING[job.effort]
    folds = holdout.folds(len(job.examples))
    for number, fold in enumerate(folds):
        left = job.pace.seconds * part - job.pace.elapsed
        schedule = Schedule(
            job.pace.clock,
            steps=None if steps is None else max(6, steps // 4),
            seconds=max(0.5, left / (len(folds) - number)),
        )
        views = _views_of(job, fold)
        job.student = job.begin(views, fold.learn, start=job.base)
        weights = job.class_weights(views, fold.learn)
        share = (part * number / len(folds), part * (number + 1) / len(folds))
        job.train_decoder(views, fold.learn, schedule, weights, share)
        for index in fold.judge:
            judge_one(job, job.student.average, fold, index)
        job.student = None
    job.pace.miou = metrics_of(job)["miou"]


def judge_one(job: Job, network: Network, fold: Fold, index: int) -> None:
    """Let a fold's network answer for an example (or the half) it has not learnt from."""
    example = job.examples[index]
    shape = (example.mask.shape[0], example.mask.shape[1])
    found = holdout.mask_of(network, job.unseeing_views.get(index, 0), shape, job.spec.classes)
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
    """The pictures' views by the base's encoder, or those of one picture's half that may be learnt from."""
    if fold.learn_half is None:
        return job.unseeing_views
    half = [holdout.only_half(p, fold.learn_half) for p in job.prepared]
    return Views(job.base, half, job.seed, job.pace.tick)
