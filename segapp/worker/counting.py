"""How well a new model counts on held-out images, where its training masks numbered objects: figures for its metrics,
and whether its learnt splitting is kept."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from segapp.imaging.object_options import AUTO_STRENGTH
from segapp.measurement import accuracy
from segapp.measurement.objects import Objects, Settings, find, from_instances
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference.upsample import interior_map
from segapp.pipeline.training.finetune import Example, Trained

LEARNT, CLASSICAL = "learnt", "classical"


def counted(trained: Trained, examples: Sequence[Example]) -> Trained:
    """The model with `objects` among its metrics: what counting its held-out images gives, and by which splitting.

    Learnt splitting is dropped from a model where splitting objects by their shape counts better. A model whose
    training masks number no objects comes back as it is: nothing is known of its counts.
    """
    ways: dict[str, list[accuracy.Agreement]] = {LEARNT: [], CLASSICAL: []}
    for index, ids, _ in trained.held_out:
        example, coarse = examples[index], trained.interiors.get(index)
        if example.instances is None or coarse is None:
            continue
        truth = _truth(example)
        seen = np.where(example.mask == IGNORE, np.uint8(IGNORE), ids)
        settings = Settings(tuple(int(k) for k in np.unique(truth.class_ids)), AUTO_STRENGTH)
        interior = interior_map(coarse, (ids.shape[0], ids.shape[1]))
        ways[LEARNT].append(accuracy.compare(truth, find(seen, settings, interior)))
        ways[CLASSICAL].append(accuracy.compare(truth, find(seen, settings)))
    if not ways[LEARNT]:
        return trained
    figures = {way: accuracy.means(agreements) for way, agreements in ways.items()}
    best = max(figures, key=lambda way: figures[way]["ap50"])  # learnt where both are equal
    found = {
        "split": best,
        "images": len(ways[best]),
        "objects": sum(one.truths for one in ways[best]),
        **{name: round(value, 4) for name, value in figures[best].items()},
        "ap50_other": round(min(figures.values(), key=lambda way: way["ap50"])["ap50"], 4),
    }
    found["sentence"] = sentence(found)
    metrics = {**trained.metrics, "objects": found}
    metrics["sentence"] = f"{trained.metrics['sentence']} {found['sentence']}"
    return replace(trained if best == LEARNT else without_interior(trained), metrics=metrics)


def without_interior(trained: Trained) -> Trained:
    """The model without its learnt splitting."""
    tensors = {name: tensor for name, tensor in trained.tensors.items() if not name.startswith("interior.")}
    return replace(trained, spec=replace(trained.spec, interior=None), tensors=tensors)


def sentence(found: dict[str, Any]) -> str:
    """The figures as a sentence."""
    where = "the held-out image" if found["images"] == 1 else f"{found['images']} held-out images"
    how = "a map learnt from your numbered objects" if found["split"] == LEARNT else "their shape"
    off = f"{100 * found['count_error']:.0f} % on {where} ({found['miscounted']:.1f} objects an image)"
    precision = f"average precision of objects at IoU 0.5 is {found['ap50']:.2f}"
    return f"Counts were off by {off}; {precision}. Touching objects are split by {how}."


def _truth(example: Example) -> Objects:
    """The numbered objects, without what is to be ignored."""
    assert example.instances is not None
    return from_instances(np.where(example.mask == IGNORE, 0, example.instances).astype(np.int32), example.mask)
