"""Training and segmenting in the calling process, for the command line: the workers' verbs without queue or rows."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from registry.bases import CATALOGUE
from registry.files import write_atomically
from registry.models import UserModel
from registry.runtime import LoadedNetwork
from segapp.imaging import decode, render
from segapp.imaging.confined import NeedsWindows
from segapp.imaging.formats import is_video
from segapp.imaging.image_input import ImageInput
from segapp.pipeline.inference.predict import predict, shares
from segapp.pipeline.video.process import ENDINGS
from segapp.worker import images, networks, windows
from segapp.worker.local_objects import ObjectSink


@contextmanager
def named_network(key: str, visitor: str = "local") -> Iterator[LoadedNetwork]:
    """The network of a model id or a base's key; "" is the visitor's active one. Raises ValueError, BaseMissing."""
    runtime = networks.runtime()
    if not key:
        model = UserModel.objects.usable().filter(visitor=visitor, active=True).first()
    elif key in CATALOGUE or key == "auto":
        model = None
    else:
        model = UserModel.objects.filter(public_id=key.removeprefix("user_"), trashed_at=None).first()
        if model is None:
            raise ValueError(f"There is no model {key}. Name a model's id, or one of: auto, {', '.join(CATALOGUE)}.")
    if model is not None:
        with runtime.use(networks.reference(model)) as network:
            yield network
        return
    with runtime.use_base(runtime.base(key or settings.SEGAPP_BASE)) as network:
        yield network


def refuse_collisions(files: Sequence[Path], out: Path, stems: Sequence[str] = ()) -> None:
    """Raise ValueError when a result would overwrite another one, or one of the files themselves.

    `stems`: the results' in the files' order, where they are not the files' own.
    """
    made = {file.resolve(): "" for file in files}
    for file, stem in zip(files, stems or [file.stem for file in files], strict=True):
        for ending in ENDINGS.values() if is_video(file) else (".png",):
            target = (out / f"{stem}{ending}").resolve()
            if target in made:
                what = f"the result of {made[target]}" if made[target] else "a file that you named"
                raise ValueError(
                    f"{target.name}, a result of {file.name}, would overwrite {what}. "
                    "Choose another folder with --out, or rename one of them."
                )
            made[target] = file.name


def segment_image(
    network: LoadedNetwork,
    file: Path,
    out: Path,
    stem: str = "",
    overlays: Path | None = None,
    choice: ImageInput | None = None,
    log: Callable[[str], None] = lambda text: None,
    objects: ObjectSink | None = None,
) -> dict[str, Any]:
    """Write `<stem>.png`, the index mask at the image's own size, and say what is on it.

    `choice`: page and channels instead of the model's own. Where `overlays` is a folder, `<stem>.jpg` in it shows the
    mask over the image. `objects` measures them, and writes what was asked for.
    """
    wanted = (choice or ImageInput()).over(ImageInput.from_dict(network.spec.image_input))
    try:
        with open(file, "rb") as opened:
            decoded = decode.read_or_windows(opened, file.name, wanted)
    except NeedsWindows:
        return _segment_windows(network, file, out / f"{stem or file.stem}.tif", wanted, log, objects)
    image = decoded.image
    found = predict(network, np.asarray(image), interior=objects is not None)
    stem = stem or file.stem
    classes = [{"id": c.id, "name": c.name, "color": c.color} for c in network.spec.classes]
    target = out / f"{stem}.png"
    png = render.palette_png(found.ids, classes)
    write_atomically(target, lambda opened: opened.write(png))
    if overlays is not None:
        images.draw_overlay(overlays / f"{stem}.jpg", image, found.ids, classes)
    return {
        "file": str(file.resolve()),
        "mask": str(target.resolve()),
        "model_key": network.key,
        "classes": shares(found.ids, network.spec.classes),
        "inference_ms": round(sum(found.timings.values()), 1),
        "notes": list(decoded.notes),
        **(objects.add(file, stem, decoded, found, network, wanted) if objects else {}),
    }


def _segment_windows(
    network: LoadedNetwork,
    file: Path,
    target: Path,
    choice: ImageInput,
    log: Callable[[str], None],
    objects: ObjectSink | None,
) -> dict[str, Any]:
    """The same of an image that is too large to read at once: the mask is a tiled TIFF."""
    began = time.perf_counter()
    if objects is not None:
        objects.hold_windowed(file)
    options = objects.options if objects else None
    found = windows.segment(
        network, file, file.name, target, choice, lambda share: log(f"{file.name}: {share:.0%}"), options
    )
    counted = objects.write(target.stem, found.document) if objects and found.document else {}
    return {
        "file": str(file.resolve()),
        "mask": str(target.resolve()),
        "model_key": network.key,
        "classes": found.classes,
        "inference_ms": round((time.perf_counter() - began) * 1000, 1),
        "notes": [*found.notes, *counted.pop("notes", [])],
        **counted,
    }
