"""Training a base model on folders of pairs: the whole network, partial labels welcome."""

import copy
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from registry.bases import CATALOGUE
from registry.network import DEFAULT_DECODER, Spec, build
from registry.weights import load_encoder
from segapp.pipeline.base_card import write_base
from segapp.pipeline.base_data import Pair, batch_of, code_weights, load_pairs, random_crop
from segapp.pipeline.labels import Labels, find_sets, read_labels
from segapp.pipeline.losses import partial_loss

RECIPE = 1
CROP = 288
BATCH = 8
DECODER_RATE = 2e-3
ENCODER_RATE = 2e-4
AVERAGE = 0.998

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Limit:
    """When to stop: after `steps`, or after `seconds` of training."""

    seconds: float | None
    steps: int | None

    def fraction(self, step: int, elapsed: float) -> float:
        """How much of the training is done, 0 to 1."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, elapsed / (self.seconds or 1800.0))


def train_base(
    key: str,
    folders: Sequence[Path],
    *,
    out: Path,
    weights: Path,
    stems: set[str] | None = None,
    seconds: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    report: Report = lambda _: None,
    save_every: float = 600.0,
) -> dict[str, Any]:
    """Train the base `key` on sets of pairs; writes base_<key>.pth and its card into `out`.

    Stops after `steps`, or after `seconds` of training (1800 when neither is given),
    and saves what it has every `save_every` seconds. `stems` names the pairs to train
    on, all others are held out; see labels.read_labels. Returns the card. Raises
    ValueError when there is nothing to learn from and WeightsUnavailable when the
    encoder cannot be had.
    """
    labels = read_labels(find_sets(folders), stems)
    pools = [load_pairs(s.folder, s.train, s.table) for s in labels.sets]
    if not any(pools):
        raise ValueError("None of the folders holds a pair to train on.")
    torch.manual_seed(seed)
    base = CATALOGUE[key]
    encoder, source = load_encoder(base.encoder, weights)
    pristine = copy.deepcopy(encoder.state_dict())
    spec = Spec(
        base_key=key,
        encoder=base.encoder,
        decoder=dict(DEFAULT_DECODER),
        input_size=base.input_size,
        mean=base.mean,
        std=base.std,
        classes=labels.classes,
    )
    network = build(spec)
    network.encoder = encoder
    network.to(memory_format=torch.channels_last)
    recipe = {"version": RECIPE, "seed": seed, "encoder": "trained", "encoder_weights": source}
    average = copy.deepcopy(network).eval()
    started = saved = time.monotonic()
    limit = Limit(seconds, steps)
    draw = random.Random(seed)
    optimizer = _optimizer(network)
    weighting = code_weights(labels, pools)
    step, done = 0, 0.0
    while done < 1.0:
        crops = _draw_crops(labels, pools, spec.input_size, draw)
        images, codes = batch_of(crops, spec.mean, spec.std)
        _schedule(optimizer, done)
        loss = _step(network, optimizer, images, codes, labels, weighting)
        step += 1
        _follow(average, network, min(AVERAGE, (1 + step) / (10 + step)))
        done = limit.fraction(step, time.monotonic() - started)
        if step % 20 == 0:
            report({"step": step, "loss": loss, "fraction": done})
        if time.monotonic() - saved > save_every:
            saved = time.monotonic()
            write_base(out, spec, average, pristine, {**recipe, "steps": step, "share": done})
    recipe["steps"] = step
    return write_base(out, spec, average, pristine, recipe, labels)


def _draw_crops(labels: Labels, pools: Sequence[Sequence[Pair]], input_size: int, draw: random.Random) -> list[Pair]:
    shares = [s.share if pool else 0.0 for s, pool in zip(labels.sets, pools, strict=True)]
    chosen = draw.choices(pools, weights=shares, k=BATCH)
    return [random_crop(draw.choice(pool), CROP, input_size, draw) for pool in chosen]


def _optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """AdamW; the encoder learns ten times slower, norms and biases do not decay."""
    groups = []
    for name, rate in (("encoder", ENCODER_RATE), ("decoder", DECODER_RATE),
                       ("segmentation_head", DECODER_RATE)):  # fmt: skip
        parameters = list(getattr(network, name).parameters())
        for decay, wide in ((1e-2, True), (0.0, False)):
            group = [p for p in parameters if (p.dim() > 1) == wide]
            groups.append({"params": group, "lr": rate, "top": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def _schedule(optimizer: torch.optim.Optimizer, done: float) -> None:
    """A short warm-up, then a cosine down to nothing."""
    warm = min(1.0, done / 0.03 + 0.02)
    for group in optimizer.param_groups:
        group["lr"] = group["top"] * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done)))


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    codes: Tensor,
    labels: Labels,
    weighting: Tensor,
) -> float:
    """One update; the loss is taken at half resolution. Raises ArithmeticError on NaN."""
    network.train()
    # ImageNet's statistics serve batches of any mix, and few-shot training needs them.
    network.encoder.eval()
    small = network.segmentation_head[0](network.decoder(network.encoder(images)))
    logits = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    targets = codes[:, ::2, ::2]
    loss = partial_loss(logits, targets, torch.from_numpy(labels.allowed), weighting)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ArithmeticError("The loss is no number any more. Try another seed.")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return value


def _follow(average: nn.Module, network: nn.Module, keep: float) -> None:
    with torch.no_grad():
        pairs = zip(average.parameters(), network.parameters(), strict=True)
        for slow, fast in pairs:
            slow.lerp_(fast, 1 - keep)
