"""A trained base as files: the network's changed tensors, and its card with held-out figures."""

import copy
import datetime
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from registry.bases import CATALOGUE, write_card
from registry.checkpoint import halve, save
from registry.network import Network, Spec, assign_tensors
from registry.weights import digest
from segapp.pipeline.base.data import load_pairs
from segapp.pipeline.base.datasets import EVERYDAY, Labels
from segapp.pipeline.base.logit_adjustment import count
from segapp.pipeline.base.loop import as_loaded
from segapp.pipeline.inference.predict import predict

MAX_HELD_OUT = 300  # images per set that the card's figures are taken on


def write_base(
    out: Path,
    spec: Spec,
    network: Network,
    pristine: Mapping[str, Tensor],
    recipe: Mapping[str, Any],
    labels: Labels | None = None,
    figures: Mapping[str, Any] | None = None,
    **words: str,
) -> dict[str, Any]:
    """Write base_<key>.pth, in half precision, and its card; returns the card.

    `pristine` is the encoder's state dict before training: what equals it is not
    written. With `labels` the card gets figures taken on the pairs held out, by the
    network as the file holds it; otherwise `figures` stand there. `words` (licence,
    limits) go into the card as they are.
    """
    network = copy.deepcopy(network).eval()
    tensors = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith("encoder.") or not torch.equal(tensor, pristine[name.removeprefix("encoder.")])
    }
    small = halve(tensors)
    assign_tensors(network, {k: v.float() if v.is_floating_point() else v for k, v in small.items()})
    if labels is not None:
        figures = held_out_figures(spec, network, labels)
    extra = {"encoder_digest": digest(pristine), "recipe": json.loads(json.dumps(dict(recipe)))}
    path = out / f"base_{spec.base_key}.pth"
    sha256, size = save(path, spec, small, "", extra)
    card = {
        "key": spec.base_key,
        "name": CATALOGUE[spec.base_key].name,
        "encoder": spec.encoder,
        "sha256": sha256,
        "bytes": size,
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "input_size": spec.input_size,
        "classes": spec.to_dict()["classes"],
        "metrics": dict(figures or {}),
        "recipe": {**recipe, "torch": torch.__version__, "python": platform.python_version()},
        **_provenance(labels),
        **words,
    }
    write_card(path.with_suffix(".json"), card)
    return card


def held_out_figures(spec: Spec, network: Network, labels: Labels) -> dict[str, Any]:
    """Per set, IoU of each class that its masks speak of, on pairs not trained on.

    A pixel counts against class X only where the mask excludes X.
    """
    net = as_loaded(spec, network)
    figures: dict[str, Any] = {}
    for label_set in labels.sets:
        stems = label_set.test[:: max(1, -(-len(label_set.test) // MAX_HELD_OUT))]
        counts = np.zeros((3, len(spec.classes)))  # right, missed, wrongly found
        for stem in stems:
            (pair,) = load_pairs(label_set.folder, [stem], label_set.table)
            counts += count(pair.codes, predict(net, pair.image).ids, labels.allowed)
        right, missed, wrong = counts
        present = right + missed > 0
        per_class = {
            c.name: round(float(right[k] / (right[k] + missed[k] + wrong[k])), 4)
            for k, c in enumerate(spec.classes)
            if present[k]
        }
        if per_class:
            figures[label_set.name] = {
                "pictures": len(stems),
                "iou": per_class,
                "miou": round(sum(per_class.values()) / len(per_class), 4),
            }
    return figures


def _provenance(labels: Labels | None) -> dict[str, Any]:
    """What the base learnt from and what that means for its use."""
    if labels is None:
        return {"data": [], "licence": "", "limits": ""}
    everyday = json.loads(EVERYDAY.read_text(encoding="utf-8"))
    known = all(s.name in everyday["sets"] for s in labels.sets)
    return {
        "data": [{"set": s.name, "pairs": len(s.train), "licence": s.licence} for s in labels.sets],
        "licence": everyday["licence"] if known else "that of the images it was trained on",
        "limits": everyday["limits"] if known else "",
    }
