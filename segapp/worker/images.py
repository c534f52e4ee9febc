"""The images a training leaves for the visitor to look at: preview, held-out before and after, thumbnail."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from registry import store
from registry.files import write_atomically
from registry.network import ClassInfo
from segapp.imaging import render
from segapp.pipeline.training.finetune import Example, Trained

SIDE = 640  # pixels
THUMBNAIL = 240
ALPHA = 0.55
NAMED = 4  # classes of an image that are named below it


def draw_preview(folder: Path, example: Example, ids: np.ndarray, classes: list[dict[str, Any]]) -> None:
    """`preview.webp`: a held-out image with what the network makes of it right now."""
    _save(folder / "preview.webp", _over(example, ids, classes))


def draw_held_out(folder: Path, trained: Trained, examples: list[Example]) -> list[dict[str, Any]]:
    """`heldout_<k>_{image,truth,custom,base}.webp`; returns [{index, stem, base, knows}] for the row.

    `base`: whether the base's answer was drawn; `knows`: [{name, color}] of what it found where its classes are
    others than ours.
    """
    classes = _plain(trained.spec.classes)
    compared = trained.metrics["comparison"]["kind"] == "base"
    drawn = []
    for k, (index, custom, other) in enumerate(trained.held_out):
        example, base, knows = examples[index], other if compared else trained.base_predictions.get(index), []
        _save(folder / f"heldout_{k}_image.webp", _small(example.image))
        _save(folder / f"heldout_{k}_truth.webp", _over(example, example.mask, classes))
        _save(folder / f"heldout_{k}_custom.webp", _over(example, custom, classes))
        if base is not None:
            theirs = classes if compared else _plain(trained.base_classes)
            _save(folder / f"heldout_{k}_base.webp", _over(example, base, theirs))
            knows = [] if compared else _most(base, theirs)
        drawn.append({"index": k, "stem": example.stem, "base": base is not None, "knows": knows})
    return drawn


def before_after(trained: Trained, examples: list[Example]) -> Image.Image | None:
    """An image and what the model makes of it, side by side; None when nothing was held out."""
    if not trained.held_out:
        return None
    index, custom, _ = trained.held_out[0]
    left = render.thumbnail(Image.fromarray(examples[index].image), THUMBNAIL)
    right = render.thumbnail(_over(examples[index], custom, _plain(trained.spec.classes)), THUMBNAIL)
    both = Image.new("RGB", (left.width + right.width, left.height))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def draw_overlay(path: Path, image: Image.Image, ids: np.ndarray, classes: list[dict[str, Any]]) -> Image.Image:
    """An image with its classes laid over, written as JPEG at its own size, and returned."""
    drawn = render.for_jpeg(render.overlay(image, ids, classes, 0.5))
    write_atomically(path, lambda out: drawn.save(out, "JPEG", quality=88))
    return drawn


def clear(folder: Path) -> None:
    """Remove what a run that publishes nothing has drawn."""
    for path in folder.glob("*.webp") if folder.is_dir() else ():
        store.remove(path)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _plain(classes: Iterable[ClassInfo]) -> list[dict[str, Any]]:
    return [{"id": c.id, "name": c.name, "color": c.color} for c in classes]


def _most(ids: np.ndarray, classes: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The classes that fill most of a mask, the largest first; at most NAMED."""
    pixels = np.bincount(ids.ravel(), minlength=256)
    found = sorted((c for c in classes if pixels[c["id"]]), key=lambda c: -pixels[c["id"]])
    return [{"name": c["name"], "color": c["color"]} for c in found[:NAMED]]


def _small(image: np.ndarray) -> Image.Image:
    return render.thumbnail(Image.fromarray(image), SIDE)


def _over(example: Example, ids: np.ndarray, classes: list[dict[str, Any]]) -> Image.Image:
    small = _small(example.image)
    mask = Image.fromarray(ids).resize(small.size, Image.Resampling.NEAREST)
    return render.overlay(small, np.asarray(mask), classes, ALPHA)


def _save(path: Path, image: Image.Image) -> None:
    write_atomically(path, lambda out: image.save(out, "WEBP", quality=82, method=2))
