"""Training a base's decoder on cached features, for encoders too large to train here.

Also distillation from images without masks: the confident predictions of a ready base
are the labels of the new one.
"""

import copy
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from registry.bases import CATALOGUE
from registry.network import DEFAULT_DECODER, ClassInfo, Network, Spec, build
from registry.runtime import LoadedNetwork, pick_device
from registry.weights import load_encoder
from segapp.imaging.formats import is_image
from segapp.pipeline.base.card import write_base
from segapp.pipeline.base.datasets import Labels, LabelSet
from segapp.pipeline.base.loop import DECODER_RATE, EMA_DECAY, Limit, Report, as_loaded, train_step
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.predict import predict
from segapp.pipeline.training.features import EncodedView, Prepared, crops, encode, prepare, varied
from segapp.pipeline.training.losses import partial_loss
from segapp.pipeline.training.optim import adamw, update_ema

MAX_IMAGES = 400  # images whose features are kept in memory
MIN_CONFIDENCE = 128  # of 255, of a teacher's prediction that becomes a label
BATCH = 8
CELLS = 8


def distil_base(
    key: str,
    teacher: LoadedNetwork,
    images: Sequence[Path],
    *,
    out: Path,
    weights: Path,
    seconds: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    report: Report = lambda _: None,
    device: str = "auto",
) -> dict[str, Any]:
    """Make the base `key` by learning from a ready base's masks; returns the card.

    One image in ten is held out: the card says how often the two agree there.
    `images` are image files or folders of them. Raises ValueError when none can be
    read and WeightsUnavailable when the encoder cannot be had.
    """
    arrays = read_images(images)
    samples = []
    for number, array in enumerate(arrays):
        samples.append(Prepared(array, _pseudo_labels(teacher, array)))
        report({"stage": "teacher", "fraction": 0.2 * (number + 1) / len(arrays)})
    held = samples[9::10]
    train = [x for i, x in enumerate(samples) if i % 10 != 9]
    labels = _teacher_labels(teacher.spec.classes)
    spec, network, source = new_base(key, teacher.spec.classes, weights, seed)
    pristine = copy.deepcopy(network.encoder.state_dict())
    ema, taken = train_frozen(spec, network, [train], [1.0], labels, Limit(seconds, steps), seed, report, device)
    recipe = {
        "seed": seed,
        "steps": taken,
        "encoder": "frozen",
        "encoder_weights": source,
        "teacher": teacher.key,
        "teacher_sha256": teacher.sha256,
        "pictures": len(arrays),
    }
    figures = {"agreement": _agreement(spec, ema, held)} if held else {}
    return write_base(
        out, spec, ema.cpu(), pristine, recipe,
        figures=figures, licence="that of the teacher and of the images",
        limits=f"It knows what its teacher, {teacher.key}, knew.",
    )  # fmt: skip


def new_base(key: str, classes: Sequence[ClassInfo], weights: Path, seed: int) -> tuple[Spec, Network, str]:
    """The spec and network of a base to train, and where its encoder came from."""
    torch.manual_seed(seed)
    base = CATALOGUE[key]
    encoder, source = load_encoder(base.encoder, weights)
    spec = Spec(
        base_key=key,
        encoder=base.encoder,
        decoder=dict(DEFAULT_DECODER),
        input_size=base.input_size,
        mean=base.mean,
        std=base.std,
        classes=tuple(classes),
    )
    network = build(spec)
    network.encoder = encoder
    return spec, network.to(memory_format=torch.channels_last), source


def train_frozen(
    spec: Spec,
    network: Network,
    pools: Sequence[Sequence[Prepared]],
    pool_shares: Sequence[float],
    labels: Labels,
    limit: Limit,
    seed: int,
    report: Report,
    device: str = "auto",
    weighting: Tensor | None = None,
) -> tuple[Network, int]:
    """Train decoder and head on cached features; returns the EMA and the steps taken.

    Masks of the pools hold codes of `labels`. Every image is used plain or as one
    varied view. The limit's seconds do not count the caching.
    """
    place = pick_device(device)
    network.to(place).eval()
    net = as_loaded(spec, network)
    rng = random.Random(seed)
    total = sum(len(pool) for pool in pools)
    cached: list[list[EncodedView]] = []
    for pool in pools:
        most = max(1, MAX_IMAGES * len(pool) // max(1, total)) if pool else 0
        picked = rng.sample(list(pool), min(len(pool), most))
        cached.append([])
        for number, sample in enumerate(picked):
            cached[-1].append(_cached_view(net, sample, number, rng))
            report({"stage": "features", "fraction": 0.2 + 0.3 * number / len(picked)})
    ema = copy.deepcopy(network)
    averages: list[Tensor] = list(ema.parameters())
    weights: list[Tensor] = list(network.parameters())
    optimizer = adamw([(network.decoder, DECODER_RATE), (network.segmentation_head, DECODER_RATE)])
    weighting = torch.ones(len(labels.allowed)) if weighting is None else weighting
    allowed = torch.from_numpy(labels.allowed).to(place)
    shares = [share if pool else 0.0 for share, pool in zip(pool_shares, cached, strict=True)]
    started, step, done = time.monotonic(), 0, 0.0
    network.decoder.train()
    while done < 1.0:
        chosen = [rng.choice(pool) for pool in rng.choices(cached, weights=shares, k=BATCH)]
        batch = crops(chosen, CELLS, rng)
        features = [feature.float() for feature in batch.features]
        logits = network.segmentation_head[0](network.decoder(features))
        loss = partial_loss(logits, batch.target, allowed, weighting.to(place))
        value = train_step(optimizer, loss, done)
        step += 1
        update_ema(averages, weights, step, EMA_DECAY)
        done = limit.fraction(step, time.monotonic() - started)
        if step % 20 == 0:
            report({"step": step, "loss": value, "fraction": 0.5 + 0.5 * done})
    return ema, step


def read_images(paths: Sequence[Path]) -> list[np.ndarray]:
    """Images (uint8 H,W,3) from files and folders; files that are not images are skipped."""
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        files += [file for file in inside if is_image(file)]
    images = []
    for file in files:
        try:
            with Image.open(file) as image:
                image.draft("RGB", (1024, 1024))
                images.append(np.asarray(image.convert("RGB")))
        except (OSError, UnidentifiedImageError):
            continue
    if not images:
        raise ValueError("No image could be read. Name a folder with JPEG, PNG or WebP files.")
    return images


def _cached_view(net: LoadedNetwork, sample: Prepared, number: int, rng: random.Random) -> EncodedView:
    """One view at the network's size, in half precision; every other one is varied."""
    sized = prepare(sample.image, sample.mask, net.spec.input_size)
    view = encode(net, varied(sized, number, rng) if number % 2 else sized)
    return EncodedView(tuple(f.half() for f in view.features), view.target, view.cells, view.size, view.encoder)


def _pseudo_labels(teacher: LoadedNetwork, image: np.ndarray) -> np.ndarray:
    """The teacher's mask as channels, IGNORE below MIN_CONFIDENCE."""
    seen = predict(teacher, image)
    table = np.full(256, IGNORE, dtype=np.uint8)
    for channel, info in enumerate(teacher.spec.classes):
        table[info.id] = channel
    return np.where(seen.confidence >= MIN_CONFIDENCE, table[seen.ids], IGNORE).astype(np.uint8)


def _teacher_labels(classes: Sequence[ClassInfo]) -> Labels:
    nothing: tuple[LabelSet, ...] = ()
    return Labels(tuple(classes), np.eye(len(classes), dtype=bool), nothing)


def _agreement(spec: Spec, network: Network, held: Sequence[Prepared]) -> float:
    """Share of the teacher's certain pixels, on held-out images, that the new base repeats."""
    net = as_loaded(spec, network)
    same = known = 0
    ids = np.array([c.id for c in spec.classes] + [0] * (256 - len(spec.classes)))
    for sample in held:
        certain = sample.mask != IGNORE
        found = predict(net, sample.image).ids
        same += int((found == ids[sample.mask])[certain].sum())
        known += int(certain.sum())
    return round(same / max(1, known), 4)
