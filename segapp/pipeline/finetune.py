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
from segapp.pipeline import holdout
from segapp.pipeline.features import IGNORE, Prepared, Views, prepare
from segapp.pipeline.metrics import channels
from segapp.pipeline.pace import Cancelled, Clock, Pace, Progress, Schedule, Stopped, Watch
from segapp.pipeline.sizing import choose_input_size
from segapp.pipeline.stages import Settings, Student, TrainingFailed, train_decoder, train_whole
from segapp.pipeline.start import class_map, class_weights, new_network

__all__ = ["Cancelled", "Example", "Progress", "Trained", "TrainingFailed", "finetune"]

RECIPE = 1
SECONDS = {"quick": 17.0, "thorough": 75.0}  # for five pictures with the smallest base
HEAVY = 3.0  # times as long with a base of many parameters
HEAVY_FROM = 10_000_000
JUDGING = {"quick": 0.3, "thorough": 0.12}  # share of the time that goes into the held-out score
THOROUGH_DECODER_STEPS = 90
ATTEMPTS = 3


@dataclass(frozen=True)
class Example:
    """A picture (uint8 H,W,3) with its mask (uint8 H,W of class ids; 255 is ignore)."""

    stem: str
    image: np.ndarray
    mask: np.ndarray


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
                run = _Run(base, root, examples, classes, effort, seed, pace, settings)
                return run.train(steps)
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
    size = sum(p.numel() for p in network.parameters())
    heavy = HEAVY if size >= HEAVY_FROM else 1.0
    return SECONDS[effort] * heavy * max(0.7, examples / 5)


class _Run:
    """One attempt: prepared pictures, cached views, folds, then the model that is kept."""

    def __init__(
        self,
        base: LoadedNetwork,
        root: LoadedNetwork,
        examples: Sequence[Example],
        classes: Sequence[ClassInfo],
        effort: str,
        seed: int,
        pace: Pace,
        settings: Settings,
    ) -> None:
        self.base, self.root, self.examples = base, root, examples
        self.effort, self.seed, self.pace, self.settings = effort, seed, pace, settings
        ids = [c.id for c in classes]
        masks = [channels(e.mask, ids) for e in examples]
        size = choose_input_size(masks, root.spec.input_size)
        self.spec = Spec(
            base_key=base.spec.base_key,
            encoder=base.spec.encoder,
            decoder=dict(root.spec.decoder),
            input_size=size,
            mean=base.spec.mean,
            std=base.spec.std,
            classes=tuple(classes),
        )
        self.prepared = [prepare(e.image, m, size) for e, m in zip(examples, masks, strict=True)]
        self.views = Views(root, self.prepared, seed, pace.tick)
        self.judged: list[holdout.Judged] = []
        self.student: Student | None = None

    def train(self, steps: int | None) -> Trained:
        """Judge, then train what is kept; a stop in between keeps what there is."""
        taken = 0
        try:
            self._judge(steps)
            taken = self._keep(steps)
        except Stopped:
            taken = self.student.steps if self.student else 0
        if self.student is None:
            self.student = self._begin(self.views, range(len(self.examples)))
        metrics = holdout.score(self.judged, self.spec.classes, self._kind(), self._how())
        return Trained(
            spec=self.spec,
            tensors=changed_tensors(self.base, self.student.average),
            metrics=metrics,
            steps=taken,
            seconds=round(self.pace.elapsed, 2),
            recipe=self._recipe(taken),
            losses=list(self.pace.losses),
            held_out=[(j.index, j.found, j.other) for j in self.judged],
        )

    def _begin(self, views: Views, members: Sequence[int]) -> Student:
        plain = [views.get(i, 0) for i in members]
        return Student(new_network(self.root, self.spec, plain, self.seed))

    def _judge(self, steps: int | None) -> None:
        """Score every example by a short training without it."""
        part = JUDGING[self.effort]
        parts = holdout.folds(len(self.examples))
        for number, fold in enumerate(parts):
            left = self.pace.seconds * part - self.pace.elapsed
            schedule = Schedule(
                self.pace.clock,
                steps=None if steps is None else max(6, steps // 4),
                seconds=max(0.5, left / (len(parts) - number)),
            )
            views = self._views_of(fold)
            student = self.student = self._begin(views, fold.learn)
            weights = class_weights([views.get(i, 0) for i in fold.learn], len(self.spec.classes))
            share = (part * number / len(parts), part * (number + 1) / len(parts))
            self._decoder_stage(student, views, fold.learn, schedule, weights, share)
            for index in fold.judge:
                self._judge_one(student.average, fold, index)
            self.student = None
        metrics = holdout.score(self.judged, self.spec.classes, self._kind(), "")
        self.pace.miou = metrics["miou"]

    def _views_of(self, fold: holdout.Fold) -> Views:
        """The run's views, or those of one picture's half that may be learnt from."""
        if fold.learn_half is None:
            return self.views
        half = [holdout.only_half(p, fold.learn_half) for p in self.prepared]
        return Views(self.root, half, self.seed, self.pace.tick)

    def _judge_one(self, network: Network, fold: holdout.Fold, index: int) -> None:
        example = self.examples[index]
        shape = (example.mask.shape[0], example.mask.shape[1])
        found = holdout.mask_of(network, self.views.get(index, 0), shape, self.spec.classes)
        truth = holdout.judged_part(example.mask, fold)
        known = [j for j in self.judged if j.index == index]
        if known:  # the other half of the same picture
            seen = truth != IGNORE
            known[0].truth[seen] = truth[seen]
            known[0].found[seen] = found[seen]
        else:
            other = self._comparison(fold, index, shape)
            self.judged.append(holdout.Judged(index, truth.copy(), found, other))
        self.pace.tick(preview=(index, found))

    def _kind(self) -> str:
        shared = class_map(self.base.spec.classes, self.spec.classes)
        wanted = {c.id for c in self.spec.classes if c.name.strip().casefold() != "background"}
        return "base" if wanted and wanted <= set(shared.values()) else "trivial"

    def _comparison(self, fold: holdout.Fold, index: int, shape: tuple[int, int]) -> np.ndarray:
        """What the base says where classes agree by name, else the most common class."""
        learnt = [self.examples[i].mask for i in fold.learn]
        common = holdout.majority(learnt, self.spec.classes)
        if self._kind() == "trivial":
            return np.full(shape, common, dtype=np.uint8)
        view = Views(self.base, [self._base_prepared(index)], self.seed).get(0, 0)
        found = holdout.mask_of(self.base.module, view, shape, self.base.spec.classes)
        rest = next((c.id for c in self.spec.classes if c.name.casefold() == "background"), common)
        table = np.full(256, rest, dtype=np.uint8)
        for theirs, ours in class_map(self.base.spec.classes, self.spec.classes).items():
            table[theirs] = ours
        return table[found]

    def _base_prepared(self, index: int) -> Prepared:
        example = self.examples[index]
        blank = np.full(example.mask.shape, IGNORE, dtype=np.uint8)
        return prepare(example.image, blank, self.base.spec.input_size)

    def _keep(self, steps: int | None) -> int:
        """Train the model that is kept on everything; returns the steps taken."""
        members = range(len(self.examples))
        student = self.student = self._begin(self.views, members)
        weights = class_weights([self.views.get(i, 0) for i in members], len(self.spec.classes))
        part = JUDGING[self.effort]
        left = self.pace.seconds - self.pace.elapsed
        if self.effort == "quick":
            schedule = Schedule(self.pace.clock, steps=steps, seconds=max(1.0, left))
            self._decoder_stage(student, self.views, members, schedule, weights, (part, 1.0))
            return schedule.step
        first = Schedule(self.pace.clock, steps=THOROUGH_DECODER_STEPS)
        self._decoder_stage(student, self.views, members, first, weights, (part, 0.3))
        student.own_encoder(copy.deepcopy(self.root.module.encoder))
        left = self.pace.seconds - self.pace.elapsed
        schedule = Schedule(self.pace.clock, steps=steps, seconds=max(2.0, left))
        normal = (self.spec.mean, self.spec.std)
        train_whole(
            student, self.prepared, schedule, self.pace, self.settings,
            weights.to(self.root.device), self.seed, (0.3, 1.0), normal,
        )  # fmt: skip
        return schedule.step

    def _decoder_stage(
        self,
        student: Student,
        views: Views,
        members: Sequence[int],
        schedule: Schedule,
        weights: Tensor,
        share_: tuple[float, float],
    ) -> None:
        train_decoder(
            student, views, list(members), schedule, self.pace, self.settings,
            weights.to(self.root.device), self.seed, share_,
        )  # fmt: skip

    def _how(self) -> str:
        if len(self.examples) == 1:
            return "Each half of the picture was scored by a shorter training on the other half."
        return "Each picture was scored by a shorter training that had not seen it (two folds)."

    def _recipe(self, taken: int) -> dict[str, Any]:
        return {
            "version": RECIPE,
            "effort": self.effort,
            "seed": self.seed,
            "steps": taken,
            "input_size": self.spec.input_size,
            "batch": self.settings.batch,
            "base": self.base.key,
            "base_sha256": self.base.base_sha256 or self.base.sha256,
            "start": self.root.key if self.root is not self.base else None,
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
