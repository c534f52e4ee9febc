"""manage.py demo: a small set of drawn images and masks to try everything with."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from PIL import Image

from registry.files import write_atomically
from segapp.imaging import sample
from segapp.management.output import ProjectCommand


class Command(ProjectCommand):
    help = "Writes images/ and masks/ to train with, and more/ to try the model on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="default: %(default)s")

    def handle(self, *, out: Path, **options: Any) -> None:
        for k, name in enumerate(sample.NAMES):
            image, ids = (Image.fromarray(array) for array in sample.draw(k))
            trains = k < sample.TRAIN
            _write(image, out / ("images" if trains else "more") / f"{name}.png")
            if trains:
                _write(ids, out / "masks" / f"{name}.png")
        self.stdout.write(
            f"{sample.TRAIN} images with masks are in {out}/images and {out}/masks, {out}/more has others."
        )
        self.stdout.write("Mask values: " + ", ".join(f"{k} {name}" for k, name in enumerate(sample.CLASSES)) + ".")
        self.stdout.write(f"Try: manage.py finetune {out}/images {out}/masks")


def _write(image: Image.Image, path: Path) -> None:
    write_atomically(path, lambda out: image.save(out, "PNG"))
