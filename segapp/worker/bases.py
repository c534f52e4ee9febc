"""Building base models for the command line: from folders of pairs, or from another base's answers."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from PIL import Image

from registry.bases import CATALOGUE, find
from registry.memory import keep_freed
from segapp.imaging import sample
from segapp.imaging.formats import is_image
from segapp.pipeline.base.distillation import distil_base
from segapp.pipeline.base.train import train_base
from segapp.worker import networks

Report = Callable[[dict[str, Any]], None]


def train(
    key: str, folders: list[Path], stems: Path | None, out: Path, report: Report, **limits: Any
) -> dict[str, Any]:
    """Train on folders of pairs; `stems` is a file with one stem a line. Returns the model card."""
    keep_freed()
    chosen = set(stems.read_text().split("\n")) - {""} if stems else None
    return train_base(
        key,
        folders,
        out=out,
        weights=settings.SEGAPP_WEIGHTS,
        stems=chosen,
        report=report,
        device=settings.SEGAPP_DEVICE,
        **limits,
    )


def distil(key: str, teacher: str, images: Path | None, out: Path, report: Report, **limits: Any) -> dict[str, Any]:
    """Teach the base `key` what the ready base `teacher` says about images, by default the sample images.

    "auto" is the first ready base that is another one. Raises ValueError without one, and BaseMissing.
    """
    runtime = networks.runtime()
    if teacher == "auto":
        ready = (other for other in CATALOGUE if other != key and find(other, runtime.media, runtime.weights))
        teacher = next(ready, "")
        if not teacher:
            raise ValueError(f"No base but {key} is ready to learn from. Name folders with masks: --data DIR.")
    with tempfile.TemporaryDirectory() as drawn, runtime.use_base(runtime.base(teacher)) as network:
        if images is None:
            for k, name in enumerate(sample.NAMES):
                Image.fromarray(sample.draw(k)[0]).save(Path(drawn) / f"{name}.png")
        folder = images or Path(drawn)
        files = sorted(path for path in folder.iterdir() if is_image(path))
        return distil_base(
            key,
            network,
            files,
            out=out,
            weights=settings.SEGAPP_WEIGHTS,
            report=report,
            device=settings.SEGAPP_DEVICE,
            **limits,
        )
