"""Training a base model on folders of pairs, also with partial labels."""

import copy
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from registry.network import Network, Spec
from registry.runtime import pick_device
from segapp.pipeline.base.card import write_base
from segapp.pipeline.base.data import code_weights, load_pairs
from segapp.pipeline.base.datasets import Labels, find_sets, read_labels
from segapp.pipeline.base.distillation import distil_base, new_base, train_frozen
from segapp.pipeline.base.logit_adjustment import adjust_logits
from segapp.pipeline.base.loop import DECODER_RATE, EMA_DECAY, ENCODER_RATE, Limit, Report, train_step
from segapp.pipeline.training.augment import Pair, batch_of, random_crop
from segapp.pipeline.training.features import Prepared
from segapp.pipeline.training.losses import partial_loss
from segapp.pipeline.training.optim import adamw, update_ema

__all__ = ["distil_base", "train_base"]

RECIPE = 2
CROP = 288
BATCH = 8
MIN_LARGE = 10_000_000  # encoder parameters from which on a CPU only the decoder is trained


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
    device: str = "auto",
) -> dict[str, Any]:
    """Train the base `key` on sets of pairs; writes base_<key>.pth and its card into `out`.

    Stops after `steps`, or after `seconds` of training (1800 when neither is given),
    and saves what it has every `save_every` seconds. `stems` names the pairs to train
    on, all others are held out; see datasets.read_labels. On a CPU a large encoder stays
    frozen and the decoder is trained on cached features. Returns the card. Raises
    ValueError when there is nothing to learn from and WeightsUnavailable when the
    encoder cannot be had.
    """
    labels = read_labels(find_sets(folders), stems)
    pools = [load_pairs(s.folder, s.train, s.table) for s in labels.sets]
    if not any(pools):
        raise ValueError("None of the folders holds a pair to train on.")
    spec, network, source = new_base(key, labels.classes, weights, seed)
    pristine = copy.deepcopy(network.encoder.state_dict())
    limit = Limit(seconds, steps)
    weighting = code_weights(labels, pools)
    size = sum(p.numel() for p in network.encoder.parameters())
    frozen = size >= MIN_LARGE and pick_device(device).type == "cpu"
    recipe = {
        "version": RECIPE,
        "seed": seed,
        "encoder": "frozen" if frozen else "trained",
        "encoder_weights": source,
    }
    if frozen:
        prepared = [[Prepared(p.image, p.codes) for p in pool] for pool in pools]
        shares = [s.share for s in labels.sets]
        ema, taken = train_frozen(spec, network, prepared, shares, labels, limit, seed, report, device, weighting)
    else:
        ema, taken = _train_whole(
            spec, network, pools, labels, limit, seed, report, device, weighting,
            lambda net, info: write_base(out, spec, net, pristine, {**recipe, **info}),
            save_every,
        )  # fmt: skip
    offsets = adjust_logits(spec, ema, pools, labels, seed)
    return write_base(out, spec, ema.cpu(), pristine, {**recipe, "steps": taken, "offsets": offsets}, labels)


def _train_whole(
    spec: Spec,
    network: Network,
    pools: Sequence[Sequence[Pair]],
    labels: Labels,
    limit: Limit,
    seed: int,
    report: Report,
    device: str,
    weighting: Tensor,
    save: Any,
    save_every: float,
) -> tuple[Network, int]:
    """Train encoder, decoder and head on random crops; returns the EMA and the steps."""
    place = pick_device(device)
    network.to(place)
    ema = copy.deepcopy(network).eval()
    averages: list[Tensor] = list(ema.parameters())
    weights: list[Tensor] = list(network.parameters())
    optimizer = adamw(
        [
            (network.encoder, ENCODER_RATE),
            (network.decoder, DECODER_RATE),
            (network.segmentation_head, DECODER_RATE),
        ]
    )
    allowed = torch.from_numpy(labels.allowed).to(place)
    rng = random.Random(seed)
    network.train()
    # ImageNet's normalisation statistics suit batches of any mix of sets, and few-shot training relies on them.
    network.encoder.eval()
    started = saved = time.monotonic()
    step, done = 0, 0.0
    while done < 1.0:
        crops = _draw_crops(labels, pools, spec.input_size, rng)
        images, codes = batch_of(crops, spec.mean, spec.std)
        features = network.encoder(images.to(place))
        small = network.segmentation_head[0](network.decoder(features))
        logits = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        targets = codes[:, ::2, ::2].to(place)
        loss = partial_loss(logits, targets, allowed, weighting.to(place))
        value = train_step(optimizer, loss, done)
        step += 1
        update_ema(averages, weights, step, EMA_DECAY)
        done = limit.fraction(step, time.monotonic() - started)
        if step % 20 == 0:
            report({"step": step, "loss": value, "fraction": done})
        if time.monotonic() - saved > save_every:
            saved = time.monotonic()
            save(copy.deepcopy(ema).cpu(), {"steps": step, "share": round(done, 3)})
    return ema, step


def _draw_crops(labels: Labels, pools: Sequence[Sequence[Pair]], input_size: int, rng: random.Random) -> list[Pair]:
    shares = [s.share if pool else 0.0 for s, pool in zip(labels.sets, pools, strict=True)]
    chosen = rng.choices(pools, weights=shares, k=BATCH)
    return [random_crop(rng.choice(pool), CROP, input_size, rng) for pool in chosen]
