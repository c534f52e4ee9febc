"""Models that really run, made without training: the base's decoder and a head that always finds the same class.

Run as a program it plants them into the home of a server: `python -m segapp.tests.planting VISITOR NAME=CLASS …`,
oldest first; prints their ids as a JSON list. The last one is active.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

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


def plant_into(home: Path, visitor: str, database_url: str = "", **models: int) -> list[str]:
    """The same in the home of a server, in a process of its own; the models' public ids, oldest first."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SEGAPP_")}
    environment = {**inherited, "SEGAPP_HOME": str(home), "DJANGO_SETTINGS_MODULE": "segapp.settings"}
    environment |= second_pair.for_home(home)
    if database_url:
        environment["DATABASE_URL"] = database_url
    wanted = [f"{name}={finds}" for name, finds in models.items()]
    command = [sys.executable, "-m", "segapp.tests.planting", visitor, *wanted]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    ids: list[str] = json.loads(done.stdout.splitlines()[-1])
    return ids


def main(visitor: str, *models: str) -> None:
    import django

    django.setup()
    last, ids = None, []
    for model in models:
        name, _, finds = model.partition("=")
        last = plant(visitor, name, int(finds), last)
        ids.append(last.public_id)
    print(json.dumps(ids))


if __name__ == "__main__":
    main(*sys.argv[1:])
