"""What the pages' tests share: pairs to send, and rows with their files as a worker leaves them."""

import io
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from registry.models import UserModel
from segapp.imaging import render
from segapp.models import Analysis, State, TrainingRun
from segapp.tests.imaging.drawing import photo, saved, shapes, truth

HTMX = {"HX-Request": "true"}  # what htmx adds to its requests
CLASSES = [{"id": 0, "name": "background", "color": "#4b5563"}, {"id": 1, "name": "=disc", "color": "#e69f00"}]


def upload(name: str, file: io.BytesIO) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, file.getvalue())


def pairs(*stems: str) -> dict[str, list[SimpleUploadedFile]]:
    """What the upload form sends for these pairs: a disc (class 1) on a background."""
    return {
        "images": [upload(f"{stem}.jpg", saved(photo(96), "JPEG")) for stem in stems],
        "masks": [upload(f"{stem}.png", saved(shapes([0, 255]))) for stem in stems],
    }


def analyzed(visitor: str, **values: Any) -> Analysis:
    """A finished result with its files: a disc found on a 96 x 96 image."""
    ids = truth()
    shares = [{**row, "pixels": int((ids == row["id"]).sum()), "percent": 50.0} for row in CLASSES]
    defaults = {"title": "disc.jpg", "width": 96, "height": 96, "state": State.DONE, "classes": shares}
    named = {"model_key": "efficientnet_lite0", "model_name": "EfficientNet-Lite0", "timings": {"inference_ms": 740}}
    row = Analysis.objects.create(visitor=visitor, **{**defaults, **named, **values})
    row.folder.mkdir(parents=True)
    photo(96).save(row.folder / "image.png")
    (row.folder / "mask.png").write_bytes(render.palette_png(ids, CLASSES))
    shapes([100, 200]).resize((48, 48), Image.Resampling.NEAREST).save(row.folder / "sure.png")
    return row


def trained(model: UserModel, **metrics: Any) -> TrainingRun:
    """A run that has ended with this model, with one held-out image."""
    rows = [{"id": 1, "name": "disc", "iou": 0.31, "dice": 0.5, "base_iou": 0.2, "images": 2}]
    figures = {
        "miou": 0.61,
        "per_class": rows,
        "comparison": {"kind": "base", "miou": 0.2},
        "better": True,
        "sentence": "On 2 held-out images the model reaches a mean IoU of 0.61; the base model reaches 0.20.",
        "held_out_images": [{"index": 0, "stem": "one", "base": True}],
    }
    run = TrainingRun.objects.create(
        visitor=model.visitor, name=model.name, state=State.DONE, model=model, metrics={**figures, **metrics}
    )
    run.folder.mkdir(parents=True)
    for kind in ("image", "truth", "custom", "base"):
        photo(32).save(run.folder / f"heldout_0_{kind}.webp")
    return run
