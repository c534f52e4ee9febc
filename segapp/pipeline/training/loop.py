"""The two stages of fine-tuning: the decoder on cached features, then the whole network."""

import copy
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from registry.network import Network
from segapp.pipeline.training.augment import Pair, batch_of, random_crop
from segapp.pipeline.training.features import Prepared, Views, crops
from segapp.pipeline.training.input_size import MOST
from segapp.pipeline.training.losses import cross_entropy_dice
from segapp.pipeline.training.schedule import Schedule

AVERAGE = 0.97
TRAINED = ("decoder", "segmentation_head")
HOPELESS = 2.0  # times the loss of guessing; a training that stays above it has diverged
MEMORY = 0.8  # of the loss's running mean: a single bad batch is none
DIVERGED = "Training diverged: {how}. Check that the masks fit their images, then train again; another seed may help."

Tell = Callable[[float, Schedule], None]  # hears the loss of each step


class TrainingFailed(Exception):
    """Training cannot give a model; the message says why in plain words."""


@dataclass(frozen=True)
class Settings:
    """Numbers of a run that shrink when memory is short."""

    batch: int = 4
    cells: int = 8  # crop side of the decoder stage, in stride-32 cells
    crop: int = 256  # crop side of the whole-network stage, in pixels
    side: int = MOST  # longest side at which images are seen, in pixels
    decoder_rate: float = 4e-3
    encoder_rate: float = 2e-4
    dice: float = 1.0

    def smaller(self) -> "Settings":
        """Half the memory."""
        return Settings(
            batch=max(1, self.batch // 2),
            cells=max(2, self.cells * 3 // 4),
            crop=max(64, self.crop * 3 // 4 // 32 * 32),
            side=max(256, self.side // 2),
            decoder_rate=self.decoder_rate,
            encoder_rate=self.encoder_rate,
            dice=self.dice,
        )


class LossGuard:
    """Ends a training whose loss is no number any more, or stays far above what guessing would cost."""

    def __init__(self, classes: int) -> None:
        self._most = HOPELESS * (math.log(max(2, classes)) + 1)  # cross-entropy and Dice of equal probabilities
        self._mean = 0.0

    def check(self, loss: Tensor) -> float:
        """The loss as a number; raises TrainingFailed."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingFailed(DIVERGED.format(how="the loss is no number any more"))
        self._mean = MEMORY * self._mean + (1 - MEMORY) * value
        if self._mean > self._most:
            raise TrainingFailed(DIVERGED.format(how="the loss has grown beyond that of guessing"))
        return value


class Chance:
    """Where torch's random numbers stand in one training, while others draw theirs."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever is drawn inside changes nothing for what comes after."""
        plain = torch.get_rng_state()
        if self._cuda is None:
            yield
            torch.set_rng_state(plain)
            return
        device = torch.cuda.get_rng_state(self._cuda)
        yield
        torch.set_rng_state(plain)
        torch.cuda.set_rng_state(device, self._cuda)


class Student:
    """A network in training and its running average, which is what is kept.

    Only decoder and head are its own; the encoder is shared until `own_encoder`.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.average = copy.copy(network)
        self.average._modules = dict(network._modules)
        for name in TRAINED:
            setattr(self.average, name, copy.deepcopy(getattr(network, name)).eval())
        self._trained: tuple[str, ...] = TRAINED
        self._start = [p.detach().clone() for p in self._own(self.average)]
        self.steps = 0

    def own_encoder(self, encoder: Network) -> None:
        """Give the network an encoder of its own to train; what it is now becomes its start."""
        self.network.encoder = encoder
        self.average.encoder = copy.deepcopy(encoder).eval()
        self._trained = ("encoder", *TRAINED)
        self._start = [p.detach().clone() for p in self._own(self.average)]

    def blended(self, share: float) -> Network:
        """The average of what is trained, `share` of the way from where that began.

        Going only a part of the way keeps what the start knew beyond these few examples.
        """
        mixed = copy.copy(self.average)
        mixed._modules = dict(self.average._modules)
        for name in self._trained:
            setattr(mixed, name, copy.deepcopy(getattr(self.average, name)))
        with torch.no_grad():
            for parameter, start in zip(self._own(mixed), self._start, strict=True):
                parameter.copy_(torch.lerp(start, parameter, share))
        return mixed

    def go(self, share: float) -> None:
        """Set network and average to that part of the way."""
        mixed = self.blended(share)
        with torch.no_grad():
            for part in (self.network, self.average):
                for parameter, found in zip(self._own(part), self._own(mixed), strict=True):
                    parameter.copy_(found)

    def _own(self, network: Network) -> list[Tensor]:
        return [p for name in self._trained for p in getattr(network, name).parameters()]

    def follow(self) -> None:
        """Move the average a little towards the network; faster in the beginning."""
        self.steps += 1
        keep = min(AVERAGE, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name in ("encoder", "decoder", "segmentation_head"):
                slow, fast = getattr(self.average, name), getattr(self.network, name)
                if slow is fast:
                    continue
                for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                    a.lerp_(b, 1 - keep)


def train_decoder(
    student: Student,
    views: Views,
    members: Sequence[int],
    schedule: Schedule,
    settings: Settings,
    class_weights: Tensor,
    seed: int,
    tell: Tell,
) -> Iterator[None]:
    """Train decoder and head on cached views of the examples `members`, one step for each `next`.

    Other trainings may take steps in between: chance goes on here where it stood.
    Raises TrainingFailed when it diverges.
    """
    draw = random.Random(seed)
    torch.manual_seed(seed)
    chance = Chance(class_weights.device)
    parts = [student.network.decoder, student.network.segmentation_head]
    optimizer = _adamw([(part, settings.decoder_rate) for part in parts])
    for part in parts:
        part.train()
    most = len(members) * views.per_example
    every = views.steps_per_view
    guard = LossGuard(len(class_weights))
    while schedule.running:
        known = len(members) + schedule.step // every
        numbers = [draw.randrange(min(known, most)) for _ in range(settings.batch)]
        chosen = [views.get(members[n % len(members)], n // len(members)) for n in numbers]
        batch = crops(chosen, settings.cells, draw)
        logits = student.network.segmentation_head[0](student.network.decoder(batch.features))
        loss = cross_entropy_dice(logits, batch.target, class_weights, settings.dice)
        _update(optimizer, loss, schedule, tell, guard)
        student.follow()
        with chance.kept():
            yield


def train_whole(
    student: Student,
    prepared: Sequence[Prepared],
    schedule: Schedule,
    settings: Settings,
    class_weights: Tensor,
    seed: int,
    tell: Tell,
    normal: tuple[Sequence[float], Sequence[float]],
) -> Iterator[None]:
    """Train all of the network on crops of the images themselves, one step for each `next`.

    The encoder learns ten times slower and keeps its normalisation statistics. Raises TrainingFailed when it diverges.
    """
    draw = random.Random(seed)
    torch.manual_seed(seed)
    network = student.network
    network.encoder.eval().requires_grad_(True)
    network.decoder.train()
    optimizer = _adamw(
        [
            (network.encoder, settings.encoder_rate),
            (network.decoder, settings.decoder_rate / 4),
            (network.segmentation_head, settings.decoder_rate / 4),
        ]
    )
    device = next(network.parameters()).device
    chance = Chance(device)
    pairs = [Pair(p.image, p.mask) for p in prepared]
    sizes = [max(p.mask.shape) for p in prepared]
    guard = LossGuard(len(class_weights))
    while schedule.running:
        picked = [draw.randrange(len(pairs)) for _ in range(settings.batch)]
        cut = [random_crop(pairs[i], settings.crop, sizes[i], draw) for i in picked]
        images, target = batch_of(cut, *normal)
        features = network.encoder(images.to(device))
        small = network.segmentation_head[0](network.decoder(features))
        logits = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        target = target[:, 1::2, 1::2].to(device)
        loss = cross_entropy_dice(logits, target, class_weights, settings.dice)
        _update(optimizer, loss, schedule, tell, guard)
        student.follow()
        with chance.kept():
            yield


def _adamw(parts: Sequence[tuple[nn.Module, float]]) -> torch.optim.Optimizer:
    """AdamW without decay on norms and biases."""
    groups = []
    for part, rate in parts:
        for decay, wide in ((1e-2, True), (0.0, False)):
            group = [p for p in part.parameters() if (p.dim() > 1) == wide]
            groups.append({"params": group, "lr": rate, "top": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def _update(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    schedule: Schedule,
    tell: Tell,
    guard: LossGuard,
) -> None:
    value = guard.check(loss)
    for group in optimizer.param_groups:
        group["lr"] = group["top"] * schedule.rate()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 5.0)
    optimizer.step()
    schedule.step += 1
    tell(value, schedule)
