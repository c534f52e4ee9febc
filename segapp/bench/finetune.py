"""The product's recipes against the usual and the naive one, on the same data in one run."""

import random
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from registry.network import Network, Spec, build, enlarge_as_smp
from registry.runtime import LoadedNetwork, with_base
from registry.weights import load_encoder
from segapp.bench.datasets import Draw, draw, halves
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.predict import predict
from segapp.pipeline.training.augment import Pair, batch_of, random_crop
from segapp.pipeline.training.features import prepare
from segapp.pipeline.training.finetune import finetune
from segapp.pipeline.training.losses import cross_entropy_dice
from segapp.pipeline.training.metrics import channels, confusion, ious, mean

BASELINES = ("naive", "usual")
RECIPES = (*BASELINES, "quick", "thorough")
USUAL_STEPS = 200
USUAL_BATCH = 4
USUAL_CROP = 224
NAIVE_EPOCHS = 5
FULL_DECODER = {"decoder_pyramid_channels": 256, "decoder_segmentation_channels": 128}


def bench_finetune(
    base: LoadedNetwork,
    folders: Sequence[Path],
    *,
    weights: Path,
    seeds: Sequence[int] = (0, 1, 2),
    recipes: Sequence[str] = RECIPES,
    tests: int = 30,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
    known: Collection[str] = (),
    earlier: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Train by every recipe on every set and seed; returns rows, a summary and groups, JSON-ready.

    A row has set, seed, recipe, miou, seconds of training, steps, input_size; the
    summary has, per recipe and set, the means and their ratios to the usual recipe's.
    groups has the same for `known`, the sets that the base has learnt from, and for the
    others, which also come in halves. Draws that are among the rows `earlier` are not
    repeated: their rows are taken as they are.
    """
    rows = []
    done = {(row["set"], row["seed"], row["recipe"]): row for row in earlier}
    for folder in folders:
        for seed in seeds:
            missing = [recipe for recipe in recipes if (folder.name, seed, recipe) not in done]
            drawn = draw(folder, seed, tests) if missing else None
            for recipe in recipes:
                if drawn is None or recipe not in missing:
                    rows.append(done[folder.name, seed, recipe])
                    continue
                started = time.monotonic()
                net, extra = _train(recipe, base, drawn, weights, seed)
                seconds = time.monotonic() - started
                row = {
                    "set": folder.name,
                    "seed": seed,
                    "recipe": recipe,
                    "miou": score(net, drawn),
                    "seconds": round(seconds, 2),
                    **extra,
                }
                rows.append(row)
                report(row)
    return {"rows": rows, "summary": summary(rows), "groups": groups(rows, known)}


def groups(rows: Sequence[dict[str, Any]], known: Collection[str]) -> dict[str, Any]:
    """Summaries of the known sets' rows, of the unseen ones', and of either half of the latter."""
    unseen = [row for row in rows if row["set"] not in known]
    first, second = halves([row["set"] for row in unseen])
    return {
        "known": summary([row for row in rows if row["set"] in known]),
        "unseen": summary(unseen),
        "unseen_first_half": summary([row for row in unseen if row["set"] in first]),
        "unseen_second_half": summary([row for row in unseen if row["set"] in second]),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Per recipe: mean mIoU, seconds and ratios to the usual one, over all sets and, with the spread, for each."""
    usual = {(r["set"], r["seed"]): r for r in rows if r["recipe"] == "usual"}
    result: dict[str, Any] = {}
    for recipe in dict.fromkeys(r["recipe"] for r in rows):
        own = [r for r in rows if r["recipe"] == recipe]
        per_set = {}
        for name in dict.fromkeys(r["set"] for r in own):
            there = [r for r in own if r["set"] == name]
            spread = float(np.ptp([r["miou"] for r in there]))
            per_set[name] = {**_figures(there, usual), "spread": round(spread, 4)}
        by_seed = [float(np.mean([r["miou"] for r in own if r["seed"] == s])) for s in {r["seed"] for r in own}]
        spread = round(float(np.ptp(by_seed)), 4)
        result[recipe] = {**_figures(own, usual), "spread": spread, "per_set": per_set}
    return result


def _figures(own: Sequence[dict[str, Any]], usual: dict[tuple[str, int], dict[str, Any]]) -> dict[str, float]:
    """Means over rows of one recipe; beside the usual recipe's rows of the same draws, where there are any."""
    found = {
        "miou": round(float(np.mean([r["miou"] for r in own])), 4),
        "seconds": round(float(np.mean([r["seconds"] for r in own])), 2),
    }
    pairs = [(r, usual[(r["set"], r["seed"])]) for r in own if (r["set"], r["seed"]) in usual]
    if pairs:
        found["time_ratio"] = round(float(np.mean([a["seconds"] / b["seconds"] for a, b in pairs])), 3)
        found["miou_gain"] = round(float(np.mean([a["miou"] - b["miou"] for a, b in pairs])), 4)
    return found


def _train(
    recipe: str, base: LoadedNetwork, drawn: Draw, weights: Path, seed: int
) -> tuple[LoadedNetwork, dict[str, Any]]:
    if recipe in ("quick", "thorough"):
        trained = finetune(base, drawn.train, drawn.classes, effort=recipe, seed=seed)
        module = with_base(base, trained.spec, trained.tensors).eval()
        extra = {
            "steps": trained.steps,
            "input_size": trained.spec.input_size,
            "held_out_miou": trained.metrics["miou"],
            **{name: trained.recipe[name] for name in ("share", "knowledge", "adapted", "guided", "guided_gain")},
        }
        return loaded(base, trained.spec, module), extra
    spec = Spec(
        base_key=base.base_key,
        encoder=base.spec.encoder,
        decoder=dict(FULL_DECODER),
        input_size=512,
        mean=base.spec.mean,
        std=base.spec.std,
        classes=tuple(drawn.classes),
    )
    torch.manual_seed(seed)
    network = enlarge_as_smp(build(spec))
    network.encoder = load_encoder(spec.encoder, weights)[0]
    network.to(base.device, memory_format=torch.channels_last)
    train = _usual if recipe == "usual" else _naive
    steps = train(network, spec, drawn, random.Random(seed))
    return loaded(base, spec, network.eval()), {"steps": steps, "input_size": spec.input_size}


def _usual(network: Network, spec: Spec, drawn: Draw, chance: random.Random) -> int:
    """The whole network: AdamW 2e-3 (encoder a tenth), one cycle, random-scale crops."""
    network.train()
    groups: list[dict[str, Any]] = [
        {"params": list(network.encoder.parameters()), "lr": 2e-4},
        {"params": [*network.decoder.parameters(), *network.segmentation_head.parameters()]},
    ]
    optimizer = torch.optim.AdamW(groups, lr=2e-3, weight_decay=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, [2e-4, 2e-3], USUAL_STEPS)
    pairs = _pairs(spec, drawn)
    for _ in range(USUAL_STEPS):
        crops = [random_crop(chance.choice(pairs), USUAL_CROP, spec.input_size, chance) for _ in range(USUAL_BATCH)]
        _learn(network, optimizer, *batch_of(crops, spec.mean, spec.std))
        cycle.step()
    return USUAL_STEPS


def _naive(network: Network, spec: Spec, drawn: Draw, chance: random.Random) -> int:
    """Only the head, learning rate 1e-5, five epochs over whole images."""
    network.eval().requires_grad_(False)
    network.segmentation_head.requires_grad_(True)
    optimizer = torch.optim.Adam(network.segmentation_head.parameters(), lr=1e-5)
    pairs = _pairs(spec, drawn)
    for _ in range(NAIVE_EPOCHS):
        for pair in chance.sample(pairs, len(pairs)):
            image, codes = (np.zeros((512, 512, 3), np.uint8), np.full((512, 512), IGNORE, np.uint8))
            height, width = pair.codes.shape
            image[:height, :width], codes[:height, :width] = pair.image, pair.codes
            _learn(network, optimizer, *batch_of([Pair(image, codes)], spec.mean, spec.std))
    return NAIVE_EPOCHS * len(pairs)


def _learn(network: Network, optimizer: torch.optim.Optimizer, images: Tensor, target: Tensor) -> None:
    device = next(network.parameters()).device
    loss = cross_entropy_dice(network(images.to(device)), target.to(device))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _pairs(spec: Spec, drawn: Draw) -> list[Pair]:
    ids = [c.id for c in spec.classes]
    prepared = [prepare(e.image, channels(e.mask, ids), spec.input_size) for e in drawn.train]
    return [Pair(p.image, p.mask) for p in prepared]


def loaded(base: LoadedNetwork, spec: Spec, module: Network) -> LoadedNetwork:
    module.to(base.device, memory_format=torch.channels_last)
    return LoadedNetwork("bench", "", base.base_key, spec, module, base.device)


def score(net: LoadedNetwork, drawn: Draw) -> float:
    """mIoU over the classes that the test masks hold, at the masks' own size."""
    ids = drawn.test_ids
    counts = np.zeros((len(ids), len(ids)), dtype=np.int64)
    for example in drawn.test:
        found = predict(net, example.image).ids
        counts += confusion(channels(example.mask, ids), channels(found, ids), len(ids))
    return round(mean(ious(counts)) or 0.0, 4)
