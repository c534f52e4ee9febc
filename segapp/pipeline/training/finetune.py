"""From a few examples to a model: the project's recipe for fine-tuning.

Knows nothing of the database, of files or of the queue: it takes arrays and a loaded
base, tells a watcher how it goes, and returns tensors with an honest score.
"""

import copy
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from registry.network import ClassInfo, Network, Spec
from registry.runtime import LoadedNetwork
from segapp.pipeline.training.glances import Glances
from segapp.pipeline.training.job import Example, Job, prepare_job
from segapp.pipeline.training.judging import Rehearsal, judge, metrics_of, rehearsal_steps, rehearse
from segapp.pipeline.training.loop import DIVERGED, Settings, Student, TrainingFailed, train_whole
from segapp.pipeline.training.schedule import Beside, Cancelled, Clock, Pace, Progress, Schedule, Stopped, Watch
from segapp.pipeline.training.turns import Course, take_turns

__all__ = ["Cancelled", "Example", "Progress", "Trained", "TrainingFailed", "finetune"]

RECIPE = 2
SECONDS = {"quick": 13.5, "thorough": 72.0}  # for five images with the smallest base, on a CPU
MAX_STEPS = {"quick": 300, "thorough": 75}  # for five images, where there is time for more; whole-network ones
GPU = 0.3  # of the time
HEAVY = 3.0  # times as long with a base of many parameters
HEAVY_FROM = 10_000_000
THOROUGH_DECODER_STEPS = 90
EVERY = 6  # steps of the quick training that is kept for each step of a rehearsal
LEAST = 6  # steps of a rehearsal
STEPS_MULTIPLE = 18  # the clock chooses among multiples of it: then a rehearsal's steps follow from the kept one's
REHEARSED = 24  # steps of a rehearsal beside a thorough training
ATTEMPTS = 3
LIBRARIES = ("torch", "torchvision", "segmentation_models_pytorch", "timm", "numpy", "pillow")  # that results hang on


@dataclass
class Trained:
    """A model: what differs from its base, how good it is, and how to make it again.

    held_out lists (example index, its ids, the comparison's ids), uint8 H,W each. Where the
    base knows other classes, base_says has its own answer for some of them, in its own ids.
    """

    spec: Spec
    tensors: dict[str, Tensor]
    metrics: dict[str, Any]
    steps: int
    seconds: float
    recipe: dict[str, Any]
    losses: list[float] = field(default_factory=list)
    held_out: list[tuple[int, np.ndarray, np.ndarray | None]] = field(default_factory=list)
    base_says: dict[int, np.ndarray] = field(default_factory=dict)
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

    `effort` is "quick" (encoder as it is, features cached) or "thorough" (the encoder
    learns too). Without `steps` the wall clock decides how many are taken; with them,
    and the same seed, the same weights come out. `start` is a model of the visitor's
    to go on from. `watch` hears a Progress at least twice a second; when it returns
    False, training stops and the best so far is returned; what it raises goes through.
    Raises TrainingFailed with a message for the visitor.
    """
    if effort not in SECONDS:
        raise ValueError(f"There is no effort {effort!r}. Use quick or thorough.")
    _check(examples, classes)
    root = start or base
    seconds = budget_seconds or default_seconds(effort, len(examples), root.module)
    pace = Pace(watch, seconds, clock or time.monotonic, timed=steps is None)
    pace.tick(0.0, 0)
    settings = settings or Settings()
    for attempt in range(ATTEMPTS):
        if attempt and base.device.type == "cuda":
            torch.cuda.empty_cache()  # what the attempt before held was freed when its error was dropped
        try:
            with torch.random.fork_rng(devices=[]):
                job = prepare_job(base, root, examples, classes, effort, seed, pace, settings)
                return _train(job, steps)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if attempt == ATTEMPTS - 1:
                raise TrainingFailed(
                    "There was not enough memory to train, even in small steps. Use fewer "
                    "or smaller images, or try again when the server is less busy."
                ) from error
            settings = settings.smaller()
    raise AssertionError("unreachable")


def default_seconds(effort: str, examples: int, network: Network) -> float:
    """The time a run may take: more images get more, and on a CPU larger networks do."""
    parameters = list(network.parameters())
    if parameters[0].is_cuda:
        return SECONDS[effort] * GPU * more_for(examples)
    heavy = HEAVY if sum(p.numel() for p in parameters) >= HEAVY_FROM else 1.0
    return SECONDS[effort] * heavy * more_for(examples)


def more_for(examples: int) -> float:
    """How much more (or less) time and steps than five images so many get."""
    return max(0.7, examples / 5)


def _train(job: Job, steps: int | None) -> Trained:
    """Train what is kept and, beside it, what scores it; a stop in between keeps and scores what there is."""
    members = range(len(job.examples))
    rehearsals, student, stopped = [], None, False
    kept = Course(job.pace, kept=True)
    try:
        rehearsals = rehearse(job)
        student = job.begin(job.views, members)
        glances = Glances(job, rehearsals)
        glances()
        job.pace.closing = glances.seconds
        plan = _plan_quick if job.effort == "quick" else _plan_thorough
        plan(job, student, kept, rehearsals, steps)
        take_turns([*(one.course for one in rehearsals), kept], glances)
    except Stopped:
        stopped = True
    if not job.judged:  # a thorough training has asked before it changed the encoder
        judge(job, rehearsals)
    if student is not None:
        student.go(job.share)
    if not stopped:
        stopped = _announce(job)
    student = student or job.begin(job.views, members)
    tensors = changed_tensors(job.base, student.average)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise TrainingFailed(DIVERGED.format(how="its last step left weights that are no numbers"))
    return Trained(
        spec=job.spec,
        tensors=tensors,
        metrics=metrics_of(job),
        steps=kept.taken,
        seconds=round(job.pace.elapsed, 2),
        recipe={**_recipe(job), "steps": kept.taken, "stopped": stopped},
        losses=list(job.pace.losses),
        held_out=[(j.index, j.found, j.other) for j in job.judged],
        base_says=job.base_says,
        base_classes=tuple(job.base.spec.classes),
    )


def _announce(job: Job) -> bool:
    """Say that training is done, with the score that stays; True when a stop came with the answer."""
    last = job.judged[0]
    try:
        job.pace.tick(1.0, preview=(last.index, last.found))
    except Stopped:
        return True
    return False


def _plan_quick(job: Job, student: Student, kept: Course, rehearsals: Sequence[Rehearsal], steps: int | None) -> None:
    """Decoder and head, with the rehearsals in step: the number of steps alone tells what each of them does."""
    most = round(MAX_STEPS["quick"] * more_for(len(job.examples)))
    totals = range(STEPS_MULTIPLE, max(STEPS_MULTIPLE, most) + 1, STEPS_MULTIPLE)
    leader = Schedule(job.pace.clock, steps=steps, seconds=_left(job.pace, 1.0), totals=totals)
    for one in rehearsals:
        one.course.weight = EVERY
        one.course.steps = rehearsal_steps(job, one, Beside(leader, EVERY, LEAST))
    kept.weight = 1
    tell = kept.hear(job.pace.part, 1.0)
    kept.steps = job.train_decoder(student, job.views, range(len(job.examples)), leader, tell)


def _plan_thorough(
    job: Job, student: Student, kept: Course, rehearsals: Sequence[Rehearsal], steps: int | None
) -> None:
    """The whole network; the rehearsals are over when its decoder stage is."""
    for one in rehearsals:
        one.course.steps = rehearsal_steps(job, one, Schedule(job.pace.clock, steps=REHEARSED))
    kept.steps = _whole_steps(job, student, kept, rehearsals, steps)


def _whole_steps(
    job: Job, student: Student, course: Course, rehearsals: Sequence[Rehearsal], steps: int | None
) -> Iterator[None]:
    """Decoder and head first, then the whole network; the number of steps of the latter repeats it."""
    members, pace = range(len(job.examples)), job.pace
    first = Schedule(pace.clock, steps=THOROUGH_DECODER_STEPS)
    yield from job.train_decoder(student, job.views, members, first, course.hear(pace.part, 0.3))
    course.fraction = 1.0  # the rehearsals, which say how far to go, take their turns first
    while any(one.course.fraction < 1.0 for one in rehearsals):
        yield
    judge(job, rehearsals)
    student.go(job.share)
    student.own_encoder(copy.deepcopy(job.root.module.encoder))
    most = round(MAX_STEPS["thorough"] * more_for(len(job.examples)))
    schedule = Schedule(pace.clock, steps=steps, seconds=_left(pace, 2.0), totals=range(3, most + 1, 3))
    normal = (job.spec.mean, job.spec.std)
    weights = job.class_weights(job.views, members)
    tell = course.hear(max(0.3, pace.part), 1.0)
    yield from train_whole(student, job.prepared, schedule, job.settings, weights, job.seed, tell, normal)


def _left(pace: Pace, least: float) -> float:
    """Seconds for a last stage."""
    return max(least, pace.seconds - pace.elapsed - pace.closing)


def _recipe(job: Job) -> dict[str, Any]:
    return {
        "version": RECIPE,
        "effort": job.effort,
        "seed": job.seed,
        "input_size": job.spec.input_size,
        "share": job.share,
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
