"""What a training works on: pictures at the network's size, their views, the time it has."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from registry.network import ClassInfo, Spec
from registry.runtime import LoadedNetwork
from segapp.pipeline.features import Prepared, Views, prepare
from segapp.pipeline.holdout import Judged
from segapp.pipeline.metrics import channels
from segapp.pipeline.pace import Pace, Schedule
from segapp.pipeline.sizing import choose_input_size
from segapp.pipeline.stages import Settings, Student, train_decoder
from segapp.pipeline.start import class_weights, new_network


@dataclass(frozen=True)
class Example:
    """A picture (uint8 H,W,3) with its mask (uint8 H,W of class ids; 255 is ignore)."""

    stem: str
    image: np.ndarray
    mask: np.ndarray


@dataclass
class Job:
    """One attempt at a training. `root` is where it starts: the base or the visitor's model."""

    base: LoadedNetwork
    root: LoadedNetwork
    examples: Sequence[Example]
    spec: Spec
    prepared: list[Prepared]
    views: Views
    effort: str
    seed: int
    pace: Pace
    settings: Settings
    judged: list[Judged] = field(default_factory=list)
    student: Student | None = None
    share: float = 1.0  # how much of the way from its start the kept decoder goes; set by the judging
    fold_steps: int = 0  # of each training that judged

    def begin(self, views: Views, members: Sequence[int]) -> Student:
        """A student that starts from the root, its head fitted to the members' plain views."""
        plain = [views.get(i, 0) for i in members]
        return Student(new_network(self.root, self.spec, plain, self.seed))

    def class_weights(self, views: Views, members: Sequence[int]) -> Tensor:
        """Loss weights per class, from the members' plain views, on the job's device."""
        plain = [views.get(i, 0) for i in members]
        return class_weights(plain, len(self.spec.classes)).to(self.root.device)

    def train_decoder(
        self,
        views: Views,
        members: Sequence[int],
        schedule: Schedule,
        weights: Tensor,
        share: tuple[float, float],
    ) -> None:
        """Train the student's decoder and head; `share` is this stage's part of the progress."""
        assert self.student is not None
        train_decoder(
            self.student, views, list(members), schedule, self.pace, self.settings, weights,
            self.seed, share,
        )  # fmt: skip


def prepare_job(
    base: LoadedNetwork,
    root: LoadedNetwork,
    examples: Sequence[Example],
    classes: Sequence[ClassInfo],
    effort: str,
    seed: int,
    pace: Pace,
    settings: Settings,
) -> Job:
    """Choose the input size and bring the examples to it."""
    ids = [c.id for c in classes]
    masks = [channels(e.mask, ids) for e in examples]
    size = choose_input_size(masks, base.spec.input_size)
    spec = Spec(
        base_key=base.spec.base_key,
        encoder=base.spec.encoder,
        decoder=dict(root.spec.decoder),
        input_size=size,
        mean=base.spec.mean,
        std=base.spec.std,
        classes=tuple(classes),
    )
    prepared = [prepare(e.image, m, size) for e, m in zip(examples, masks, strict=True)]
    views = Views(root, prepared, seed, pace.tick)
    return Job(base, root, examples, spec, prepared, views, effort, seed, pace, settings)
