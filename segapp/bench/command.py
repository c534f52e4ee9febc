"""The whole `manage.py finetune` as a person runs it, start-up and publishing included, beside the usual training."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from segapp.bench.apart import BenchFailed, own_home
from segapp.bench.datasets import Draw, draw
from segapp.home import PROJECT
from segapp.pipeline.training.finetune import SECONDS


def beside_usual(rows: Sequence[dict[str, Any]], folders: Sequence[Path], base: str) -> dict[str, dict[str, Any]]:
    """Per effort in `rows`: seconds of the command on the first images that the usual recipe has trained on, and
    their ratio to it. Raises BenchFailed."""
    usual = next((row for row in rows if row["recipe"] == "usual"), None)
    if usual is None:
        return {}
    drawn = draw(next(folder for folder in folders if folder.name == usual["set"]), usual["seed"], 1)
    found = {}
    for effort in SECONDS:
        if any(row["recipe"] == effort for row in rows):
            seconds = seconds_of(drawn, effort, base)
            figures = {"seconds": round(seconds, 2), "time_ratio": round(seconds / usual["seconds"], 3)}
            found[effort] = {"set": usual["set"], "seed": usual["seed"], **figures}
    return found


def seconds_of(drawn: Draw, effort: str, base: str) -> float:
    """What one command takes on the drawn images, on an empty home. Raises BenchFailed."""
    with own_home() as (home, environment):
        for kind in ("images", "masks"):
            (home / kind).mkdir()
        for example in drawn.train:
            Image.fromarray(example.image).save(home / "images" / f"{example.stem}.png")
            Image.fromarray(example.mask).save(home / "masks" / f"{example.stem}.png")
        command = [sys.executable, str(PROJECT / "manage.py"), "finetune", str(home / "images"), str(home / "masks")]
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "--effort", effort, "--base", base],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        if done.returncode:
            raise BenchFailed(f"manage.py finetune ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        return seconds
