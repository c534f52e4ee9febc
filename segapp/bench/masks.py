"""Whether each mask is its own model's: compared with what a whole network of that model makes of the same image."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from segapp.bench import synthetic
from segapp.bench.load import Sent

ALIKE = 0.999  # of the pixels: threads may add up in another order, another model differs in far more
PROBES = 12  # models that are compared with one another


def check(sent: Sequence[Sent], reference: synthetic.Reference) -> dict[str, Any]:
    """How many masks are not their model's own, and how similar two models' masks are: they must differ."""
    answered = sorted((one for one in sent if one.status == 200), key=lambda one: one.visitor.model)
    agreements = []
    wrong = 0
    for one in answered:
        found = agreement(one.mask, reference.mask(one.visitor.model, synthetic.image(one.image)))
        agreements.append(found)
        wrong += found < ALIKE or one.model_key != one.visitor.key
    return {
        "checked": len(answered),
        "wrong": wrong,
        "identical": sum(found == 1.0 for found in agreements),
        "least_agreement": round(min(agreements, default=0.0), 5),
        "agreement_between_models": between_models(reference, {one.visitor.model for one in answered}),
    }


def agreement(png: bytes, wanted: np.ndarray) -> float:
    """Share of pixels with the same class; 0 for no image or another size."""
    try:
        with Image.open(BytesIO(png)) as stored:
            found = np.asarray(stored)
    except OSError:
        return 0.0
    return float((found == wanted).mean()) if found.shape == wanted.shape else 0.0


def between_models(reference: synthetic.Reference, numbers: set[int]) -> float | None:
    """The most that two models agree on one image; None for a single one."""
    image = synthetic.image(0)
    masks = [reference.mask(number, image) for number in sorted(numbers)[:PROBES]]
    pairs = [float((a == b).mean()) for k, a in enumerate(masks) for b in masks[:k]]
    return round(max(pairs), 5) if pairs else None
