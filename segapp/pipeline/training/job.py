"""What a training works on: images at the network's size, their views, the time it has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from registry.network import ClassInfo, Spec
from registry.runtime import LoadedNetwork
from segapp.pipeline.training.cross_validation import Judged
from segapp.pipeline.training.features import Prepared, Views, prepare
from segapp.pipeline.training.init import class_weights, new_network
from segapp.pipeline.training.input_size import choose_input_size, usual_side
from segapp.pipeline.training.loop import Settings, Student, Tell, train_decoder
from segapp.pipeline.training.metrics import channels
from segapp.pipeline.training.schedule import Pace, Schedule


@dataclass(frozen=True)
class Example:
    """An image (uint8 H,W,3) with its mask (uint8 H,W of class ids; 255 is ignore)."""

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
    rivals: dict[int, np.ndarray] = field(default_factory=dict)  # example -> the comparison's ids
    base_says: dict[int, np.ndarray] = field(default_factory=dict)  # in the base's own ids, for looking at
    judged: list[Judged] = field(default_factory=list)
    share: float = 1.0  # how much of the way from its start the kept decoder goes; set by the judging
    _base_views: Views | None = None

    def begin(self, views: Views, members: Sequence[int], start: LoadedNetwork | None = None) -> Student:
        """A student that starts from the root (or `start`), its head fitted to the members' plain views."""
        plain = [views.get(i, 0) for i in members]
        return Student(new_network(start or self.root, self.spec, plain, self.seed))

    @property
    def unseeing_views(self) -> Views:
        """Views by the base's encoder: a root that has learnt from these images may have changed its own."""
        if self.root is self.base or (self.root.encoder_key and self.root.encoder_key == self.base.encoder_key):
            return self.views
        if self._base_views is None:
            self._base_views = Views(self.base, self.prepared, self.seed, self.pace.tick)
        return self._base_views

    def class_weights(self, views: Views, members: Sequence[int]) -> Tensor:
        """Loss weights per class, from the members' plain views, on the job's device."""
        plain = [views.get(i, 0) for i in members]
        return class_weights(plain, len(self.spec.classes)).to(self.root.device)

    def train_decoder(
        self,
        student: Student,
        views: Views,
        members: Sequence[int],
        schedule: Schedule,
        tell: Tell,
    ) -> Iterator[None]:
        """Train a student's decoder and head, one step for each `next`."""
        weights = self.class_weights(views, members)
        return train_decoder(student, views, list(members), schedule, self.settings, weights, self.seed, tell)


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
    size = min(choose_input_size(masks, base.spec.input_size), settings.side)
    spec = Spec(
        base_key=base.spec.base_key,
        encoder=base.spec.encoder,
        decoder=dict(root.spec.decoder),
        input_size=size,
        mean=base.spec.mean,
        std=base.spec.std,
        classes=tuple(classes),
        example_side=usual_side(masks),
    )
    prepared = [prepare(e.image, m, size) for e, m in zip(examples, masks, strict=True)]
    views = Views(root, prepared, seed, pace.tick)
    return Job(base, root, examples, spec, prepared, views, effort, seed, pace, settings)
