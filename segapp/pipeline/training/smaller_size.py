"""Whether small images are better not enlarged to the base's input size: the size with the best head, by
cross-validation.

Only heads are fitted, so every size is judged by the same short training, and one takes a fraction of a second.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from registry.runtime import LoadedNetwork
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.training.features import TARGET_STRIDE, EncodedView, encode, prepare
from segapp.pipeline.training.init import fit_head
from segapp.pipeline.training.metrics import confusion, ious, mean

FACTORS = (0.5, 0.75)  # of the base's input size
MIN_SIZE = 128  # pixels
MIN_ENLARGEMENT = 1.5  # of images for which smaller sizes are tried
MIN_GAIN = 0.04  # mean IoU on held-out images from which a smaller size is taken
MIN_LABELLED = 0.5  # share of the pixels; scores on a few strokes say too little
MAX_IMAGES = 8  # that are tried
MAX_FOLDS = 5


def smaller_input_size(
    base: LoadedNetwork,
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    classes: int,
    seed: int,
    tick: Callable[[], None],
) -> tuple[int, float] | None:
    """A long side in pixels below the base's, and the mean IoU that it gains on held-out images; None to stay.

    images uint8 H,W,3; masks uint8 H,W of channels. `tick` is called between the steps.
    """
    full = base.spec.input_size
    side = float(np.median([max(mask.shape) for mask in masks]))
    labelled = np.mean([(mask != IGNORE).mean() for mask in masks])
    if len(images) < 2 or side * MIN_ENLARGEMENT > full or labelled < MIN_LABELLED:
        return None
    chosen = np.linspace(0, len(images) - 1, min(len(images), MAX_IMAGES)).round().astype(int)
    tried = [images[i] for i in chosen], [masks[i] for i in chosen]
    smaller = [round(full * factor / 32) * 32 for factor in FACTORS]
    sizes = [full, *(size for size in smaller if size >= MIN_SIZE)]
    scores = {size: _score(base, *tried, classes, size, seed, tick) for size in sizes}
    best = max(scores, key=lambda size: scores[size])
    gain = scores[best] - scores[full]
    return (best, gain) if gain >= MIN_GAIN else None


def _score(
    base: LoadedNetwork,
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    classes: int,
    size: int,
    seed: int,
    tick: Callable[[], None],
) -> float:
    """Mean IoU of heads on the base's decoder, each fitted to the images that its fold does not hold out."""
    views = []
    for image, mask in zip(images, masks, strict=True):
        tick()
        views.append(encode(base, prepare(image, mask, size)))
    folds = min(len(views), MAX_FOLDS)
    table = np.zeros((classes, classes), dtype=np.int64)
    for fold in range(folds):
        tick()
        train = [view for number, view in enumerate(views) if number % folds != fold]
        weight, bias = fit_head(base.module.decoder, train, classes, seed)
        for number in range(fold, len(views), folds):
            found = _predict(base, views[number], weight, bias, masks[number].shape)
            table += confusion(masks[number], found, classes)
    return mean(ious(table)) or 0.0


def _predict(
    base: LoadedNetwork, view: EncodedView, weight: torch.Tensor, bias: torch.Tensor, shape: tuple[int, ...]
) -> np.ndarray:
    """Channels, uint8 of `shape`, of a fitted head."""
    height, width = view.size
    with torch.inference_mode():
        logits = F.conv2d(base.module.decoder(list(view.features)), weight[:, :, None, None], bias)
        logits = F.interpolate(logits, scale_factor=TARGET_STRIDE, mode="bilinear", align_corners=False)
        logits = F.interpolate(logits[:, :, :height, :width], size=shape, mode="bilinear", align_corners=False)
    return logits[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
