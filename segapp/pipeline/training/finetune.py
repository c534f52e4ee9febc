"""Fine-tuning: from a few examples to a model, stage by stage.

Knows nothing of the database, of files or of the queue: it takes arrays and a loaded
base, reports progress to a callback, and returns tensors with a cross-validated score.
"""

import copy
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from registry.detail import FILTERS, DetailBranch
from registry.interior import InteriorHead
from registry.network import ClassInfo, Network, Spec
from registry.runtime import LoadedNetwork
from segapp.pipeline.training.detail import HIDDEN, train_detail
from segapp.pipeline.training.half_precision import rounded
from segapp.pipeline.training.interior_stage import train_interiors
from segapp.pipeline.training.job import Example, Job, prepare_job
from segapp.pipeline.training.loop import DIVERGED, Settings, Trainee, TrainingFailed, train_whole
from segapp.pipeline.training.schedule import (
    Cancelled,
    Clock,
    FollowerSchedule,
    Progress,
    ProgressReporter,
    Schedule,
    Stopped,
    TrainingTask,
    Watch,
    interleave,
)
from segapp.pipeline.training.validation import (
    Evaluator,
    FoldTraining,
    fold_steps,
    metrics_of,
    score_folds,
    start_cross_validation,
)

__all__ = ["Cancelled", "Example", "Progress", "Trained", "TrainingFailed", "finetune"]

RECIPE = 11
SECONDS = {"quick": 19.0, "thorough": 40.0}  # for five images with the smallest base, on two idle cores
PATIENCE = 40.0  # times as long a busy machine may take before the clock ends a training early
NEW_STEPS = {"quick": 126, "thorough": 288}  # for five images of a subject that is new to the base
KNOWN_STEPS = 162  # of a quick training for five images of a subject that the base knows
WHOLE_STEPS = 75  # of a thorough one, with the whole network
GPU_FACTOR = 0.3  # of the time
LARGE_FACTOR = 3.0  # times as long with a base of many parameters
MIN_LARGE = 10_000_000  # parameters
THOROUGH_DECODER_END = 0.3  # progress at the end of the decoder stage of a thorough training
INTERIOR_SHARE = 0.2  # time of the heads that tell objects apart, of that of all steps before
# Steps of a training for each step of a fold's: on subjects that the base knows, where folds decide how far to go from
# the start, so that they must not stay too near to it, and on new ones, by effort.
FOLD_RATIO = 6
NEW_FOLD_RATIO = {"quick": 9, "thorough": 12}
MIN_FOLD_STEPS = 6
THOROUGH_FOLD_STEPS = 24
STEPS_MULTIPLE = 18  # the clock chooses among multiples of it, so the number of a fold's steps follows from the model's
MAX_ATTEMPTS = 3
LIBRARIES = ("torch", "torchvision", "segmentation_models_pytorch", "timm", "numpy", "pillow")  # that affect results


@dataclass
class Trained:
    """A model: what differs from its base, its score, and what is needed to repeat the training.

    held_out lists (example index, its ids, the baseline's ids), uint8 H,W each; interiors
    has a coarse interior map (see inference.Prediction) for those whose objects are numbered. Where the
    base has other classes, base_predictions has its predictions for some examples, in its own ids.
    """

    spec: Spec
    tensors: dict[str, Tensor]
    metrics: dict[str, Any]
    steps: int
    seconds: float
    recipe: dict[str, Any]
    losses: list[float] = field(default_factory=list)
    held_out: list[tuple[int, np.ndarray, np.ndarray | None]] = field(default_factory=list)
    interiors: dict[int, np.ndarray] = field(default_factory=dict)
    base_predictions: dict[int, np.ndarray] = field(default_factory=dict)
    base_classes: tuple[ClassInfo, ...] = ()


def finetune(
    base: LoadedNetwork,
    examples: list[Example],
    classes: list[ClassInfo],
    *,
    effort: str = "quick",
    seed: int = 0,
    steps: int | None = None,
    budget_seconds: float | None = None,
    start: LoadedNetwork | None = None,
    watch: Watch = lambda _: True,
    clock: Clock | None = None,
    settings: Settings | None = None,
) -> Trained:
    """Train a model of `classes` on `examples`.

    `effort` is "quick" or "thorough". Features of the encoder are cached; where the base does
    not know the subject, the encoder's deepest stage learns too, and where it does, a thorough
    training goes on with the whole network. The number of steps follows from that and from the
    number of images; the clock ends a training early only after PATIENCE times what it usually
    takes, or after `budget_seconds`. The same steps and seed give the same weights. `start` is a
    model of the visitor's to continue from. `watch` receives a Progress at least twice a second; when it returns
    False, training stops and the result so far is returned; its exceptions are not caught.
    Raises TrainingFailed with a message for the visitor.
    """
    if effort not in SECONDS:
        raise ValueError(f"There is no effort {effort!r}. Use quick or thorough.")
    _check(examples, classes)
    root = start or base
    seconds = budget_seconds or default_seconds(effort, len(examples), root.module)
    limit = budget_seconds or PATIENCE * seconds
    progress = ProgressReporter(watch, seconds, clock or time.monotonic, steps is None, limit)
    progress.report(0.0, 0)
    settings = settings or Settings()
    for attempt in range(MAX_ATTEMPTS):
        if attempt and base.device.type == "cuda":
            torch.cuda.empty_cache()  # tensors of the previous attempt were freed together with its error
        try:
            with torch.random.fork_rng(devices=[]):
                job = prepare_job(base, root, examples, classes, effort, seed, progress, settings)
                return _train(job, steps)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if attempt == MAX_ATTEMPTS - 1:
                raise TrainingFailed(
                    "There was not enough memory to train, even in small steps. Use fewer "
                    "or smaller images, or try again when the server is less busy."
                ) from error
            settings = settings.smaller()
    raise AssertionError("unreachable")


def default_seconds(effort: str, examples: int, network: Network) -> float:
    """The time a run may take: longer for more images and, on a CPU, for larger networks."""
    parameters = list(network.parameters())
    if parameters[0].is_cuda:
        return SECONDS[effort] * GPU_FACTOR * size_factor(examples)
    large = LARGE_FACTOR if sum(p.numel() for p in parameters) >= MIN_LARGE else 1.0
    return SECONDS[effort] * large * size_factor(examples)


def size_factor(examples: int) -> float:
    """Time and steps for so many images, relative to five."""
    return max(0.7, examples / 5)


def _train(job: Job, steps: int | None) -> Trained:
    """The stages in order. A stop ends the training at any point; the result so far is scored and returned."""
    members = range(len(job.examples))
    task = TrainingTask(job.progress, kept=True)
    folds: list[FoldTraining] = []
    trainee: Trainee | None = None
    evaluator: Evaluator | None = None
    stopped = False

    # Stages 1 and 2: features, heads fitted to them, and the decoder, with cross-validation interleaved.
    try:
        folds = start_cross_validation(job)
        trainee = job.new_trainee(job.features, members)
        evaluator = Evaluator(job, folds)
        evaluator()
        job.progress.closing_seconds = evaluator.seconds
        if any(numbers is not None for numbers in job.instances):
            job.progress.closing_share = INTERIOR_SHARE
        _train_decoder_with_cross_validation(job, trainee, task, folds, evaluator, steps)
    except Stopped:
        stopped = True

    # Stage 3: score the folds, and choose on them how far the weights go from their start to their end or whether a
    # detail branch helps, and whether borders are to follow the images' edges.
    score_folds(job, folds)
    if trainee is not None:
        trainee.interpolate_weights(job.alpha)
    detail = None
    if job.use_detail:
        detail = train_detail(job.base, job.prepared, members, len(job.spec.classes), job.seed)

    # Stage 4: the whole network, from there on, and as far, where the base knows the subject.
    whole = job.effort == "thorough" and not job.adapts and not job.fits_head_only
    if whole and trainee is not None and evaluator is not None and not stopped:
        try:
            _train_whole_network(job, trainee, task, evaluator, steps)
        except Stopped:
            stopped = True
        trainee.interpolate_weights(job.alpha)

    # Stage 5: a head that tells touching objects apart, where object numbers were given.
    trainee = trainee or job.new_trainee(job.features, members)
    interior = None
    try:
        interior = train_interiors(job, trainee.ema, folds)
    except Stopped:
        stopped = True

    # Stage 6: the result.
    if not stopped:
        stopped = _report_end(job)
    return _result(job, trainee, detail, interior, task, stopped)


def _train_decoder_with_cross_validation(
    job: Job,
    trainee: Trainee,
    task: TrainingTask,
    folds: Sequence[FoldTraining],
    evaluator: Evaluator,
    steps: int | None,
) -> None:
    """Train decoder and head, and those of the folds in step with them, so a stop at any time finds a model and a
    score. Each training has its own random numbers, so interleaving changes no weights.

    The fold's number of steps follows from the model's; both are fixed before a stage with the whole network.
    """
    clock = job.progress.clock
    if job.effort == "quick" or job.adapts or job.fits_head_only:
        usual = NEW_STEPS[job.effort] if job.adapts else STEPS_MULTIPLE if job.fits_head_only else KNOWN_STEPS
        limit = round(usual * size_factor(len(job.examples)))
        totals = range(STEPS_MULTIPLE, max(STEPS_MULTIPLE, limit) + 1, STEPS_MULTIPLE)
        schedule = Schedule(clock, steps=steps, seconds=job.progress.seconds_left(1.0), totals=totals)
        ratio = NEW_FOLD_RATIO[job.effort] if job.adapts else FOLD_RATIO
        for fold in folds:
            fold.task.step_weight = ratio
            fold.task.steps = fold_steps(job, fold, FollowerSchedule(schedule, ratio, MIN_FOLD_STEPS))
        task.step_weight = 1
        end = 1.0
    else:
        schedule = Schedule(clock, steps=job.settings.thorough_decoder_steps)
        for fold in folds:
            fold.task.steps = fold_steps(job, fold, Schedule(clock, steps=THOROUGH_FOLD_STEPS))
        end = THOROUGH_DECODER_END
    on_step = task.stage(job.progress.clock_fraction, end)
    task.steps = job.train_decoder(trainee, job.features, range(len(job.examples)), schedule, on_step)
    interleave([*(fold.task for fold in folds), task], evaluator)
    if end == 1.0:
        _say_if_cut_short(job, schedule, steps)


def _say_if_cut_short(job: Job, schedule: Schedule, steps: int | None) -> None:
    usual = schedule.max_steps
    if steps is None and schedule.step < usual:
        job.cut_short = (
            f"The machine was so busy that only {schedule.step} of {usual} training steps were taken; "
            "training again when it is less busy can give a better model."
        )


def _train_whole_network(
    job: Job, trainee: Trainee, task: TrainingTask, evaluator: Evaluator, steps: int | None
) -> None:
    """Train the whole network, its encoder included; the number of these steps repeats a thorough training."""
    trainee.own_encoder(copy.deepcopy(job.root.module.encoder))
    limit = round(WHOLE_STEPS * size_factor(len(job.examples)))
    seconds = job.progress.seconds_left(2.0)
    schedule = Schedule(job.progress.clock, steps=steps, seconds=seconds, totals=range(3, limit + 1, 3))
    normalisation = (job.spec.mean, job.spec.std)
    weights = job.class_weights(job.features, range(len(job.examples)))
    on_step = task.stage(max(THOROUGH_DECODER_END, job.progress.clock_fraction), 1.0)
    task.steps = train_whole(trainee, job.prepared, schedule, job.settings, weights, job.seed, on_step, normalisation)
    interleave([task], evaluator)
    _say_if_cut_short(job, schedule, steps)


def _report_end(job: Job) -> bool:
    """Report the end with the final score; True when the watcher answers with a stop."""
    last = job.held_out[0]
    try:
        job.progress.report(1.0, preview=(last.index, last.predicted))
    except Stopped:
        return True
    return False


def _result(
    job: Job,
    trainee: Trainee,
    detail: DetailBranch | None,
    interior: InteriorHead | None,
    task: TrainingTask,
    stopped: bool,
) -> Trained:
    """The model with its metrics. Raises TrainingFailed when a weight is not finite."""
    spec = replace(job.spec, mirrored=job.mirrored, guided=job.guided)
    tensors = changed_tensors(job.base, trainee.ema)
    if detail is not None:
        options = {"filters": FILTERS, "hidden": HIDDEN, "gain": round(job.detail_gain or 0.0, 4)}
        spec = replace(spec, detail=options)
        tensors.update({f"detail.{name}": tensor.cpu() for name, tensor in detail.state_dict().items()})
    if interior is not None:
        spec = replace(spec, interior=interior.options())
        tensors.update({f"interior.{name}": rounded(tensor.cpu()) for name, tensor in interior.state_dict().items()})
    if job.adapts:
        tensors = {name: rounded(tensor) for name, tensor in tensors.items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise TrainingFailed(DIVERGED.format(how="its last step left weights that are not finite numbers"))
    return Trained(
        spec=spec,
        tensors=tensors,
        metrics=metrics_of(job),
        steps=task.steps_taken,
        seconds=round(job.progress.elapsed, 2),
        recipe={**_recipe(job), "steps": task.steps_taken, "stopped": stopped},
        losses=list(job.progress.losses),
        held_out=[(item.index, item.predicted, item.baseline) for item in job.held_out],
        interiors={item.index: item.interior for item in job.held_out if item.interior is not None},
        base_predictions=job.base_predictions,
        base_classes=tuple(job.base.spec.classes),
    )


def _recipe(job: Job) -> dict[str, Any]:
    return {
        "version": RECIPE,
        "effort": job.effort,
        "seed": job.seed,
        "input_size": job.spec.input_size,
        "size_gain": None if job.size_gain is None else round(job.size_gain, 4),
        "share": job.alpha,
        "knowledge": round(job.knowledge, 3),
        "adapted": job.adapts,
        "strokes": job.shares is not None,
        "mirrored": job.mirrored,
        "guided": job.guided,
        "guided_gain": None if job.guided_gain is None else round(job.guided_gain, 4),
        "detail": job.use_detail,
        "detail_gain": None if job.detail_gain is None else round(job.detail_gain, 4),
        "batch": job.settings.batch,
        "base": job.base.key,
        "base_sha256": job.base.base_sha256 or job.base.sha256,
        "start": job.root.key if job.root is not job.base else None,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }


def changed_tensors(base: LoadedNetwork, network: Network) -> dict[str, Tensor]:
    """Decoder and head, and those tensors of the encoder that differ from the base's."""
    theirs = base.module.encoder.state_dict()
    tensors = {}
    for name, tensor in network.state_dict().items():
        if name.startswith("encoder."):
            other = theirs[name.removeprefix("encoder.")]
            if tensor is other or torch.equal(tensor, other):
                continue
        tensors[name] = tensor.detach().cpu().contiguous().clone()
    return tensors


def _check(examples: Sequence[Example], classes: Sequence[ClassInfo]) -> None:
    if not examples or not classes:
        raise TrainingFailed("There is nothing to learn from: add images with masks.")
    ids = [c.id for c in classes]
    if not any(np.isin(e.mask, ids).any() for e in examples):
        raise TrainingFailed(
            "There is nothing to learn: every pixel of the masks is marked as ignore. "
            "Check which value of the masks means ignore."
        )


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text
