"""From a few examples to a model: the project's recipe for fine-tuning.

Knows nothing of the database, of files or of the queue: it takes arrays and a loaded
base, tells a watcher how it goes, and returns tensors with an honest score.
"""

import copy
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor

from registry.network import ClassInfo, Network, Spec
from registry.runtime import LoadedNetwork
from segapp.pipeline.job import Example, Job, prepare_job
from segapp.pipeline.judging import JUDGING, judge, metrics_of, totals
from segapp.pipeline.pace import Cancelled, Clock, Pace, Progress, Schedule, Stopped, Watch
from segapp.pipeline.stages import Settings, TrainingFailed, train_whole

__all__ = ["Cancelled", "Example", "Progress", "Trained", "TrainingFailed", "finetune"]

RECIPE = 2
SECONDS = {"quick": 16.0, "thorough": 72.0}  # for five pictures with the smallest base, on a CPU
MOST_STEPS = {"quick": 300, "thorough": 75}  # for five pictures, where there is time for more; whole-network ones
GPU = 0.3  # of the time
HEAVY = 3.0  # times as long with a base of many parameters
HEAVY_FROM = 10_000_000
THOROUGH_DECODER_STEPS = 90
ATTEMPTS = 3


@dataclass
class Trained:
    """A model: what differs from its base, how good it is, and how to make it again.

    held_out lists (example index, its ids, the comparison's ids), uint8 H,W each.
    """

    spec: Spec
    tensors: dict[str, Tensor]
    metrics: dict[str, Any]
    steps: int
    seconds: float
    recipe: dict[str, Any]
    losses: list[float] = field(default_factory=list)
    held_out: list[tuple[int, np.ndarray, np.ndarray | None]] = field(default_factory=list)


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
    pace = Pace(watch, seconds, clock) if clock else Pace(watch, seconds)
    pace.tick(0.0, 0)
    settings = settings or Settings()
    for attempt in range(ATTEMPTS):
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
                    "or smaller pictures, or try again when the server is less busy."
                ) from error
            settings = settings.smaller()
    raise AssertionError("unreachable")


def default_seconds(effort: str, examples: int, network: Network) -> float:
    """The time a run may take: more pictures and larger networks get more."""
    parameters = list(network.parameters())
    heavy = HEAVY if sum(p.numel() for p in parameters) >= HEAVY_FROM else 1.0
    device = GPU if parameters[0].is_cuda else 1.0
    return SECONDS[effort] * heavy * device * more_for(examples)


def more_for(examples: int) -> float:
    """How much more (or less) time and steps than five pictures so many get."""
    return max(0.7, examples / 5)


def _train(job: Job, steps: int | None) -> Trained:
    """Judge, then train what is kept; a stop in between keeps what there is."""
    taken, stopped = 0, False
    try:
        judge(job, steps)
        taken = _keep(job, steps)
    except Stopped:
        stopped = True
        taken = job.student.steps if job.student else 0
        if job.student:
            job.student.go(job.share)
    student = job.student or job.begin(job.views, range(len(job.examples)))
    return Trained(
        spec=job.spec,
        tensors=changed_tensors(job.base, student.average),
        metrics=metrics_of(job),
        steps=taken,
        seconds=round(job.pace.elapsed, 2),
        recipe={**_recipe(job), "steps": taken, "stopped": stopped},
        losses=list(job.pace.losses),
        held_out=[(j.index, j.found, j.other) for j in job.judged],
    )


def _keep(job: Job, steps: int | None) -> int:
    """Train the model that is kept on everything; returns the steps that repeat it."""
    members = range(len(job.examples))
    job.student = job.begin(job.views, members)
    weights = job.class_weights(job.views, members)
    part = JUDGING[job.effort]
    most = round(MOST_STEPS[job.effort] * more_for(len(job.examples)))
    choice = totals(job.effort, job.fold_steps, most)
    left = job.pace.seconds - job.pace.elapsed
    if job.effort == "quick":
        schedule = Schedule(job.pace.clock, steps=steps, seconds=max(1.0, left), totals=choice)
        job.train_decoder(job.views, members, schedule, weights, (part, 1.0))
        job.student.go(job.share)
        return schedule.step
    first = Schedule(job.pace.clock, steps=THOROUGH_DECODER_STEPS)
    job.train_decoder(job.views, members, first, weights, (part, 0.3))
    job.student.go(job.share)
    job.student.own_encoder(copy.deepcopy(job.root.module.encoder))
    left = job.pace.seconds - job.pace.elapsed
    schedule = Schedule(job.pace.clock, steps=steps, seconds=max(2.0, left), totals=choice)
    normal = (job.spec.mean, job.spec.std)
    train_whole(
        job.student, job.prepared, schedule, job.pace, job.settings, weights, job.seed,
        (0.3, 1.0), normal,
    )  # fmt: skip
    job.student.go(job.share)
    return schedule.step


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
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "numpy": np.__version__,
        },
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
        raise TrainingFailed("There is nothing to learn from: add pictures with masks.")
    ids = [c.id for c in classes]
    if not any(np.isin(e.mask, ids).any() for e in examples):
        raise TrainingFailed(
            "There is nothing to learn: every pixel of the masks is marked as ignore. "
            "Check which value of the masks means ignore."
        )


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text
