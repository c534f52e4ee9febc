"""Models that really run, made without training: the base's decoder and a head that always finds the same class.

Run as a program it plants them into the home of a server: `python -m segapp.tests.planting` reads lines
`VISITOR NAME=CLASS …`, oldest model first, and answers each with their ids as a JSON list. The last one is active.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Self

from segapp.tests import second_pair

CLASSES = (("background", "#4b5563"), ("disc", "#e69f00"), ("rim", "#56b4e9"))


def plant(visitor: str, name: str, finds: int, parent=None, run=None, detailed: bool = False):
    """A published, active model of the visitor's that finds class `finds` everywhere; with `detailed` it has a detail
    branch, which held-out images gained 0.031 from."""
    import torch
    from PIL import Image

    from registry import checkpoint, services
    from registry.detail import FILTERS, detail_branch
    from registry.network import ClassInfo
    from segapp.pipeline.training.finetune import Trained
    from segapp.worker.publishing import publish

    base = services.current_base()
    assert base is not None
    saved = checkpoint.load(base.path, base.sha256)
    spec = replace(saved.spec, classes=tuple(ClassInfo(k, *values) for k, values in enumerate(CLASSES)))
    tensors = {key: value for key, value in saved.tensors.items() if key.startswith("decoder.")}
    width = saved.tensors["segmentation_head.0.weight"].shape[1]
    tensors["segmentation_head.0.weight"] = torch.zeros(len(CLASSES), width, 1, 1)
    tensors["segmentation_head.0.bias"] = torch.eye(len(CLASSES))[finds] * 9
    recipe: dict[str, object] = {"seed": 0}
    if detailed:
        options = {"filters": FILTERS, "hidden": 4, "gain": 0.031}
        spec = replace(spec, detail=options)
        branch = detail_branch(options, len(CLASSES)).state_dict()
        tensors |= {f"detail.{key}": value for key, value in branch.items()}
        recipe |= {"detail": True, "detail_gain": 0.031}
    metrics = {
        "miou": 0.5 + finds / 10,
        "comparison": {"kind": "trivial", "miou": 0.4},
        "per_class": [{"id": 1, "name": "disc", "iou": 0.6, "dice": 0.7, "images": 2}],
        "sentence": "On 2 held-out images the model reaches a mean IoU of 0.61.",
    }
    trained = Trained(spec, tensors, metrics, steps=1, seconds=1.0, recipe=recipe, losses=[], held_out=[])
    preview = Image.new("RGB", (240, 90), CLASSES[finds][1])
    return publish(visitor, trained, name=name, base=base, image_count=5, parent=parent, run=run, preview=preview)


class Planter:
    """Plants into the home of a server, from a process of its own that loads the libraries once."""

    def __init__(self, home: Path, database_url: str = "") -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SEGAPP_")}
        environment = {**inherited, "SEGAPP_HOME": str(home), "DJANGO_SETTINGS_MODULE": "segapp.settings"}
        environment |= second_pair.for_home(home)
        if database_url:
            environment["DATABASE_URL"] = database_url
        command = [sys.executable, "-m", "segapp.tests.planting"]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def plant(self, visitor: str, **models: int) -> list[str]:
        """Public ids of the visitor's new models, oldest first: {name: class that it finds}."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(" ".join([visitor, *(f"{name}={finds}" for name, finds in models.items())]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "planting failed; its process has written why"
        ids: list[str] = json.loads(answer)
        return ids


def plant_into(home: Path, visitor: str, database_url: str = "", **models: int) -> list[str]:
    """The same once."""
    with Planter(home, database_url) as planter:
        return planter.plant(visitor, **models)


def main() -> None:
    import django

    django.setup()
    for line in sys.stdin:
        visitor, *models = line.split()
        last, ids = None, []
        for model in models:
            name, _, finds = model.partition("=")
            last = plant(visitor, name, int(finds), last)
            ids.append(last.public_id)
        print(json.dumps(ids), flush=True)


if __name__ == "__main__":
    main()
