"""The data of one attempt at a training: examples at the network's size, cached features, progress."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from registry.network import ClassInfo, Network, Spec
from registry.runtime import LoadedNetwork
from registry.stages import deepest_stage
from segapp.pipeline.inference.logistic import L2
from segapp.pipeline.training import sparse
from segapp.pipeline.training.augment import strong
from segapp.pipeline.training.cross_validation import HeldOut
from segapp.pipeline.training.features import EncodedView, FeatureCache, Prepared, prepare
from segapp.pipeline.training.init import STROKES_L2, class_weights, fit_head, new_network
from segapp.pipeline.training.input_size import choose_input_size, median_side
from segapp.pipeline.training.interior import numbers_like
from segapp.pipeline.training.knowledge import KNOWN
from segapp.pipeline.training.loop import OnStep, Settings, Trainee, train_decoder
from segapp.pipeline.training.metrics import channels
from segapp.pipeline.training.renaming import fit_renamed_head
from segapp.pipeline.training.schedule import ProgressReporter, Schedule
from segapp.pipeline.training.smaller_size import smaller_input_size

NEW_VIEWS = {"quick": 12, "thorough": 24}  # of an image of a subject that is new to the base, at most


@dataclass(frozen=True)
class Example:
    """An image (uint8 H,W,3) with its mask (uint8 H,W of class ids; 255 is ignore), and its objects' numbers (uint16
    H,W, from 1) where they were given."""

    stem: str
    image: np.ndarray
    mask: np.ndarray
    instances: np.ndarray | None = None


@dataclass
class Job:
    """One attempt at a training. `root` is the network it starts from: the base or the visitor's model."""

    base: LoadedNetwork
    root: LoadedNetwork
    examples: Sequence[Example]
    spec: Spec
    prepared: list[Prepared]
    features: FeatureCache
    effort: str
    seed: int
    progress: ProgressReporter
    settings: Settings
    baselines: dict[int, np.ndarray] = field(default_factory=dict)  # example -> the baseline's ids
    base_predictions: dict[int, np.ndarray] = field(default_factory=dict)  # in the base's own ids, for display
    held_out: list[HeldOut] = field(default_factory=list)
    knowledge: float = 0.0  # of the base about the subject, see knowledge.py
    alpha: float = 1.0  # between initial and trained weights of the model; chosen by cross-validation
    detail_gain: float | None = None  # mean IoU on held-out images that the detail branch adds, where it was tried
    use_detail: bool = False
    guided: int = 0  # pixels, as a spec has it; chosen by cross-validation
    guided_gain: float | None = None  # mean IoU on held-out images that it gives or would give, where it was tried
    size_gain: float | None = None  # mean IoU on held-out images that a smaller input size than the base's gives
    instances: list[np.ndarray | None] = field(default_factory=list)  # object numbers at the size of `prepared`
    shares: Tensor | None = None  # of the classes, estimated, where the masks are strokes
    cut_short: str = ""  # the sentence on a training that the clock ended early
    _base_features: FeatureCache | None = None

    def new_trainee(
        self, features: FeatureCache, members: Sequence[int], start: LoadedNetwork | None = None
    ) -> Trainee:
        """A trainee that starts from the root (or `start`), its head fitted to the members' plain views."""
        plain = [features.get(i, 0) for i in members]
        root = start or self.root
        network = new_network(root, self.spec, lambda decoder: self._first_head(root.module, decoder, plain))
        return Trainee(network, self.adapts)

    def _first_head(self, root: Network, decoder: Network, plain: Sequence[EncodedView]) -> tuple[Tensor, Tensor]:
        """Weight and bias of a head that is fitted to plain views."""
        if self.shares is not None and self.fits_head_only:
            return fit_renamed_head(root, plain, self.shares, self.seed)
        l2 = L2 if self.shares is None else STROKES_L2
        return fit_head(decoder, plain, len(self.spec.classes), self.seed, self.shares, l2)

    @property
    def adapts(self) -> bool:
        """Whether the encoder's deepest stage learns too: where the base knows the subject, five images spoil it."""
        return self.knowledge < KNOWN

    @property
    def mirrored(self) -> bool:
        """Whether the model is to look at images mirrored as well: where that has been measured to gain."""
        return self.effort == "thorough" and self.adapts

    @property
    def fits_head_only(self) -> bool:
        """Whether a fitted head is the model: where the base knows the subject, training on strokes spoils it."""
        fitted = self.root is self.base and self.root.spec.classes != self.spec.classes
        return self.shares is not None and not self.adapts and fitted

    def vary_views(self) -> None:
        """Let the views differ more from their images where the subject is new to the base, and end at stride 16 where
        the encoder's deepest stage goes on from there."""
        if self.adapts:
            for features in (self.features, self.base_features):
                features.variation = strong(self.spec.input_size, NEW_VIEWS[self.effort])
                features.adapted = bool(deepest_stage(self.base.module.encoder))

    @property
    def base_features(self) -> FeatureCache:
        """Features by the base's encoder: that of a root trained on these images may have seen what is held out."""
        if self.root is self.base or (self.root.encoder_key and self.root.encoder_key == self.base.encoder_key):
            return self.features
        if self._base_features is None:
            self._base_features = FeatureCache(self.base, self.prepared, self.seed, self.progress.report)
        return self._base_features

    def class_weights(self, features: FeatureCache, members: Sequence[int]) -> Tensor:
        """Loss weights per class, from the members' plain views, on the job's device."""
        plain = [features.get(i, 0) for i in members]
        if self.shares is not None:
            return sparse.stroke_weights(plain, self.shares).to(self.root.device)
        return class_weights(plain, len(self.spec.classes)).to(self.root.device)

    def train_decoder(
        self,
        trainee: Trainee,
        features: FeatureCache,
        members: Sequence[int],
        schedule: Schedule,
        on_step: OnStep,
    ) -> Iterator[None]:
        """Train a trainee's decoder and head, one step for each `next`."""
        weights = self.class_weights(features, members)
        return train_decoder(trainee, features, list(members), schedule, self.settings, weights, self.seed, on_step)


def prepare_job(
    base: LoadedNetwork,
    root: LoadedNetwork,
    examples: Sequence[Example],
    classes: Sequence[ClassInfo],
    effort: str,
    seed: int,
    progress: ProgressReporter,
    settings: Settings,
) -> Job:
    """Choose the input size and bring the examples to it."""
    ids = [c.id for c in classes]
    masks = [channels(e.mask, ids) for e in examples]
    strokes = sparse.is_sparse(masks)
    size = min(base.spec.input_size if strokes else choose_input_size(masks, base.spec.input_size), settings.side)
    smaller = None
    if root is base and size == base.spec.input_size and not strokes:
        smaller = smaller_input_size(base, [e.image for e in examples], masks, len(ids), seed, progress.report)
        size = smaller[0] if smaller else size
    spec = Spec(
        base_key=base.spec.base_key,
        encoder=base.spec.encoder,
        decoder=dict(root.spec.decoder),
        input_size=size,
        mean=base.spec.mean,
        std=base.spec.std,
        classes=tuple(classes),
        example_side=median_side(masks),
    )
    prepared = [prepare(e.image, m, size) for e, m in zip(examples, masks, strict=True)]
    if strokes:
        prepared = [sparse.broadened(p, m) for p, m in zip(prepared, masks, strict=True)]
        settings = replace(settings, strokes=True)
    features = FeatureCache(root, prepared, seed, progress.report)
    shares = None
    if strokes:
        plain = [features.get(k, 0) for k in range(len(prepared))]
        shares = sparse.class_shares(root.module.decoder, plain, len(classes), seed)
    instances = [numbers_like(p, e.instances) for p, e in zip(prepared, examples, strict=True)]
    job = Job(base, root, examples, spec, prepared, features, effort, seed, progress, settings, instances=instances)
    job.size_gain, job.shares = smaller[1] if smaller else None, shares
    return job
