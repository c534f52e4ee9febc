"""The stages of fine-tuning: the decoder on cached features, with or without the encoder's deepest stage, then the
whole network."""

import copy
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from registry.decoding import coarse_logits
from registry.folding import folded_stage
from registry.network import Network
from registry.stages import deepest_stage
from segapp.pipeline.training.augment import Pair, batch_of, random_crop
from segapp.pipeline.training.features import FeatureCache, Prepared, crops, with_stage
from segapp.pipeline.training.input_size import MAX_INPUT_SIDE
from segapp.pipeline.training.losses import cross_entropy_dice
from segapp.pipeline.training.optim import adamw, optimizer_step, update_ema
from segapp.pipeline.training.schedule import Schedule
from segapp.pipeline.training.sparse import stroke_loss

EMA_DECAY = 0.97
DECODER_PARTS = ("decoder", "segmentation_head")
MAX_LOSS_RATIO = 2.0  # over the loss of guessing; a training that stays above it has diverged
LOSS_DECAY = 0.8  # of the loss's running mean, so that a single bad batch does not end a training
DIVERGED = "Training diverged: {how}. Check that the masks fit their images, then train again; another seed may help."

OnStep = Callable[[float, Schedule], None]  # called with the loss after each step


class TrainingFailed(Exception):
    """Training cannot give a model; the message says why."""


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of a run; `smaller` ones are used when memory is short."""

    batch: int = 4
    cells: int = 8  # crop side of the decoder stage, in stride-32 cells
    crop: int = 256  # crop side of the whole-network stage, in pixels
    side: int = MAX_INPUT_SIDE  # longest side of the network's input, in pixels
    decoder_rate: float = 4e-3
    encoder_rate: float = 2e-4
    deepest_rate: float = 5e-4  # of the encoder's deepest stage, on cached features
    dice: float = 1.0
    strokes: bool = False  # the masks are strokes; job.prepare_job finds out
    detail: bool = False  # try a detail branch on subjects new to the base; docs/engine.md has what it cost on most
    thorough_decoder_steps: int = 90  # before the whole network is trained
    evaluation_interval: float = 2.0  # seconds between two evaluations on held-out images, at least

    def smaller(self) -> "Settings":
        """Half the memory."""
        return replace(
            self,
            batch=max(1, self.batch // 2),
            cells=max(2, self.cells * 3 // 4),
            crop=max(64, self.crop * 3 // 4 // 32 * 32),
            side=max(256, self.side // 2),
        )


class LossGuard:
    """Ends a training whose loss is not finite any more, or stays far above that of guessing."""

    def __init__(self, classes: int) -> None:
        self._max_loss = MAX_LOSS_RATIO * (
            math.log(max(2, classes)) + 1
        )  # cross-entropy and Dice of equal probabilities
        self._mean = 0.0

    def check(self, loss: Tensor) -> float:
        """The loss as a number; raises TrainingFailed."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingFailed(DIVERGED.format(how="the loss is not a finite number any more"))
        self._mean = LOSS_DECAY * self._mean + (1 - LOSS_DECAY) * value
        if self._mean > self._max_loss:
            raise TrainingFailed(DIVERGED.format(how="the loss has grown beyond that of guessing"))
        return value


class RngState:
    """Torch's global random state, so that interleaved trainings do not change each other's random numbers."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Restore the state at the end of the context."""
        cpu = torch.get_rng_state()
        if self._cuda is None:
            yield
            torch.set_rng_state(cpu)
            return
        device = torch.cuda.get_rng_state(self._cuda)
        yield
        torch.set_rng_state(cpu)
        torch.cuda.set_rng_state(device, self._cuda)


class Trainee:
    """A network in training and the exponential moving average of its weights, which becomes the model.

    Only decoder and head are its own; the encoder is shared until `own_encoder`, but for its deepest stage where
    `adapt` asks for that.
    """

    def __init__(self, network: Network, adapt: bool = False) -> None:
        stage = [f"encoder.{name}" for name in deepest_stage(network.encoder)] if adapt else []
        self.network = with_own(network, stage)
        self._trained: tuple[str, ...] = (*stage, *DECODER_PARTS)
        self.ema = with_own(self.network, self._trained)
        for name in self._trained:
            self.ema.get_submodule(name).eval()
        self._keep_start()
        self.steps = 0

    @property
    def stage(self) -> list[nn.Module]:
        """The network's own modules of the encoder's deepest stage; none where it is shared."""
        return [self.network.get_submodule(name) for name in self._trained if name not in DECODER_PARTS]

    def own_encoder(self, encoder: Network) -> None:
        """Give the network an encoder of its own to train; its present weights become its start."""
        self.network.encoder = encoder
        self.ema.encoder = copy.deepcopy(encoder).eval()
        self._trained = ("encoder", *DECODER_PARTS)
        self._keep_start()

    def interpolated(self, alpha: float) -> Network:
        """A copy with weights interpolated between the start (alpha 0) and the EMA (alpha 1).

        A smaller alpha retains more of what the start has learnt from other images than these few.
        """
        mixed = with_own(self.ema, self._trained)
        with torch.no_grad():
            for parameter, start in zip(self._parameters(mixed), self._start, strict=True):
                parameter.copy_(torch.lerp(start, parameter, alpha))
        return mixed

    def interpolate_weights(self, alpha: float) -> None:
        """Set network and EMA to the weights interpolated by `alpha`."""
        mixed = self.interpolated(alpha)
        with torch.no_grad():
            for part in (self.network, self.ema):
                for parameter, value in zip(self._parameters(part), self._parameters(mixed), strict=True):
                    parameter.copy_(value)

    def reset(self) -> None:
        """Set network and EMA to the weights they started with, also where theirs are not finite any more."""
        with torch.no_grad():
            for part in (self.network, self.ema):
                for parameter, start in zip(self._parameters(part), self._start, strict=True):
                    parameter.copy_(start)

    def update_ema(self) -> None:
        """Count a step and move the EMA towards the network."""
        self.steps += 1
        update_ema(self._averages, self._weights, self.steps, EMA_DECAY)

    def _keep_start(self) -> None:
        """Collect the parameters that are trained: finding them in the modules takes longer than averaging them."""
        self._weights, self._averages = self._parameters(self.network), self._parameters(self.ema)
        self._start = [p.detach().clone() for p in self._averages]

    def _parameters(self, network: Network) -> list[Tensor]:
        return [p for name in self._trained for p in network.get_submodule(name).parameters()]


def with_own(network: Network, names: Sequence[str]) -> Network:
    """A copy of a module that has copies of its own of the submodules `names`, and shares all others."""
    copied = copy.copy(network)
    copied._modules = dict(network._modules)
    for name in names:
        first, _, rest = name.partition(".")
        part = copied._modules[first]
        copied._modules[first] = with_own(part, [rest]) if rest else copy.deepcopy(part)
    return copied


def train_decoder(
    trainee: Trainee,
    features: FeatureCache,
    members: Sequence[int],
    schedule: Schedule,
    settings: Settings,
    class_weights: Tensor,
    seed: int,
    on_step: OnStep,
) -> Iterator[None]:
    """Train decoder and head on cached features of the examples `members`, one step for each `next`.

    Where the trainee has a deepest stage of its own, that is trained along, on the cached features of stride 16; its
    normalisation statistics stay. Other trainings may take steps in between: they do not change the random numbers
    here. Raises TrainingFailed when it diverges.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    rng_state = RngState(class_weights.device)
    parts = [trainee.network.decoder, trainee.network.segmentation_head]
    stage = trainee.stage
    folded = folded_stage(stage)
    rates = [(part, settings.decoder_rate) for part in parts] + [(part, settings.deepest_rate) for part in stage]
    optimizer = adamw(rates)
    for part in parts:
        part.train()
    max_views = len(members) * features.per_example
    steps_per_view = features.steps_per_view
    guard = LossGuard(len(class_weights))
    while schedule.running:
        available = len(members) + schedule.step // steps_per_view
        numbers = [rng.randrange(min(available, max_views)) for _ in range(settings.batch)]
        chosen = [features.get(members[n % len(members)], n // len(members)) for n in numbers]
        batch = crops(chosen, settings.cells, rng)
        levels = with_stage(batch.features, folded) if stage else batch.features
        logits = coarse_logits(trainee.network, levels)
        loss = _loss(logits, batch.target, class_weights, settings)
        _update(optimizer, loss, schedule, on_step, guard)
        trainee.update_ema()
        with rng_state.preserved():
            yield


def train_whole(
    trainee: Trainee,
    prepared: Sequence[Prepared],
    schedule: Schedule,
    settings: Settings,
    class_weights: Tensor,
    seed: int,
    on_step: OnStep,
    normalisation: tuple[Sequence[float], Sequence[float]],
) -> Iterator[None]:
    """Train all of the network on crops of the images themselves, one step for each `next`.

    The encoder learns ten times slower and keeps its normalisation statistics. Raises TrainingFailed when it diverges.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    network = trainee.network
    network.encoder.eval()
    network.decoder.train()
    optimizer = adamw(
        [
            (network.encoder, settings.encoder_rate),
            (network.decoder, settings.decoder_rate / 4),
            (network.segmentation_head, settings.decoder_rate / 4),
        ]
    )
    device = next(network.parameters()).device
    rng_state = RngState(device)
    pairs = [Pair(p.image, p.mask) for p in prepared]
    sizes = [max(p.mask.shape) for p in prepared]
    guard = LossGuard(len(class_weights))
    while schedule.running:
        picked = [rng.randrange(len(pairs)) for _ in range(settings.batch)]
        cut = [random_crop(pairs[i], settings.crop, sizes[i], rng) for i in picked]
        images, target = batch_of(cut, *normalisation)
        features = network.encoder(images.to(device))
        small = coarse_logits(network, features)
        logits = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        target = target[:, 1::2, 1::2].to(device)
        loss = _loss(logits, target, class_weights, settings)
        _update(optimizer, loss, schedule, on_step, guard)
        trainee.update_ema()
        with rng_state.preserved():
            yield


def _loss(logits: Tensor, target: Tensor, class_weights: Tensor, settings: Settings) -> Tensor:
    if settings.strokes:
        return stroke_loss(logits, target, class_weights)
    return cross_entropy_dice(logits, target, class_weights, settings.dice)


def _update(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    schedule: Schedule,
    on_step: OnStep,
    guard: LossGuard,
) -> None:
    value = guard.check(loss)
    optimizer_step(optimizer, loss, schedule.lr_factor())
    schedule.step += 1
    on_step(value, schedule)
