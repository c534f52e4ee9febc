"""What `manage.py bench finetune` measures with this installation's base: quality and time of every recipe."""

import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from django.conf import settings
from PIL import Image

from segapp.bench.command import beside_usual
from segapp.bench.datasets import sets_in
from segapp.bench.finetune import BASELINES, bench_finetune
from segapp.bench.image_counts import bench_counts
from segapp.bench.rows import Rows
from segapp.imaging import sample
from segapp.pipeline.training.finetune import RECIPE
from segapp.worker import networks

SAMPLES = 12  # drawn images when there is no set at hand


def run(options: dict[str, Any], log: Callable[[str], None]) -> dict[str, Any]:
    """Rows, their summary and the machine; `options` has sets, base, seeds, recipes (or images) and tests.

    Raises ValueError where no set is found or one is too small, and BaseMissing.
    """
    runtime = networks.runtime()
    ready = runtime.base(options["base"])

    def report(row: dict[str, Any]) -> None:
        kept.add(row)
        log(_line(row))

    common: dict[str, Any] = {"seeds": options["seeds"], "tests": options["tests"], "report": report}
    common["known"] = [entry["set"] for entry in ready.card.get("data", [])]
    kept = kept_rows(options.get("rows"), ready.sha256, options["tests"])
    with drawn_or_named(options["sets"]) as folders, runtime.use_base(ready) as base:
        common["earlier"] = kept.read()
        if options.get("images"):
            result = {**bench_counts(base, folders, counts=options["images"], **common), "command": {}}
        else:
            named = {"weights": settings.SEGAPP_WEIGHTS, "recipes": options["recipes"]}
            result = bench_finetune(base, folders, **named, **common)
            result["command"] = beside_usual(result["rows"], folders, base.base_key)
        machine = {"device": str(base.device), "threads": torch.get_num_threads(), "processor": platform.machine()}
        return {"base": base.base_key, **machine, **result}


def kept_rows(path: Path | None, base_sha256: str, tests: int) -> Rows:
    """Rows by base, test images and version of the product's recipe; the baselines do not depend on that version."""
    base, scored = base_sha256[:12], f"{tests} tests"
    return Rows(path, f"{base}, recipe {RECIPE}, {scored}", dict.fromkeys(BASELINES, f"{base}, {scored}"))


def table(result: dict[str, Any]) -> str:
    """The summary: mean IoU, then seconds, a line a set and a column a recipe; ratios to the usual recipe."""
    recipes = result["summary"]
    names = dict.fromkeys(name for found in recipes.values() for name in found["per_set"])
    lines = [f"Mean IoU (spread over seeds), {result['base']} on {result['device']}, {result['threads']} threads", ""]
    lines.append(_row("set", list(recipes)))
    for name in names:
        cells = [found["per_set"].get(name) for found in recipes.values()]
        lines.append(_row(name, [f"{c['miou']:.3f} ({c['spread']:.3f})" if c else "" for c in cells]))
    lines.append(_row("mean", [f"{found['miou']:.3f}" for found in recipes.values()]))
    lines += ["", "Seconds of training (of the usual recipe's)", ""]
    for name in names:
        lines.append(_row(name, [_time(found["per_set"].get(name)) for found in recipes.values()]))
    lines.append(_row("mean", [f"{found['seconds']:.1f}" for found in recipes.values()]))
    for name, group in result["groups"].items():
        if group:
            means = [f"{group[r]['miou']:.3f} ({group[r]['spread']:.3f})" if r in group else "" for r in recipes]
            lines.append(_row(f"mean IoU, {name.replace('_', ' ')}", means))
    for label, key in (("time, of the usual", "time_ratio"), ("mean IoU, over the usual", "miou_gain")):
        if any(key in found for found in recipes.values()):
            form = "{:.3f}" if key == "time_ratio" else "{:+.3f}"
            lines.append(_row(label, [form.format(f[key]) if key in f else "" for f in recipes.values()]))
    for effort, whole in result["command"].items():
        figures = f"{whole['seconds']:.1f} s, {whole['time_ratio']:.3f} of the usual recipe's training there"
        lines.append(f"manage.py finetune --effort {effort}, {whole['set']}, seed {whole['seed']}: {figures}")
    return "\n".join(lines)


def _time(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    return f"{cell['seconds']:.1f} ({cell['time_ratio']:.2f})" if "time_ratio" in cell else f"{cell['seconds']:.1f}"


def _row(label: str, cells: list[str]) -> str:
    return f"{label:<26}" + "".join(f"{cell:>16}" for cell in cells)


def _line(row: dict[str, Any]) -> str:
    return f"{row['set']}, seed {row['seed']}, {row['recipe']}: mean IoU {row['miou']:.3f} in {row['seconds']:.1f} s"


@contextmanager
def drawn_or_named(folders: list[Path]) -> Iterator[list[Path]]:
    """The sets in the folders, or drawn ones while the context lasts."""
    if folders:
        yield sets_in(folders)
        return
    with tempfile.TemporaryDirectory() as drawn:
        folder = Path(drawn) / "leaves"
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
        for k in range(SAMPLES):
            image, ids = sample.draw(k)
            Image.fromarray(image).save(folder / "images" / f"leaf_{k:02}.png")
            Image.fromarray(ids).save(folder / "masks" / f"leaf_{k:02}.png")
        yield [folder]
