"""What `manage.py bench objects` measures with this installation's base: counting, and measuring a large mask."""

import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from segapp.bench import cells, large_mask
from segapp.bench.datasets import TRAIN, sets_in
from segapp.bench.objects import bench_objects, sets_with_instances
from segapp.bench.rows import Rows
from segapp.pipeline.training.finetune import RECIPE
from segapp.worker import networks

COLUMNS = (
    *(("AP@0.5", "ap50", "{:.3f}"), ("F1@0.5", "f1", "{:.3f}"), ("count error", "count_error", "{:.3f}")),
    *(("mean IoU", "miou", "{:.3f}"), ("ms", "ms", "{:.0f}"), ("training s", "seconds", "{:.1f}")),
    *(("AP gain", "ap50_gain", "{:+.3f}"), ("IoU gain", "miou_gain", "{:+.3f}"), ("time", "ms_ratio", "{:.2f}")),
)


def run(options: dict[str, Any], log: Callable[[str], None]) -> dict[str, Any]:
    """Rows, their summary, the large mask and the machine; `options` has sets, base, seeds, tests and rows.

    Raises ValueError where no set numbers its objects or one is too small, and BaseMissing.
    """
    runtime = networks.runtime()
    ready = runtime.base(options["base"])

    def report(row: dict[str, Any]) -> None:
        kept.add(row)
        log(_line(row))

    kept = Rows(options.get("rows"), f"objects, {ready.sha256[:12]}, recipe {RECIPE}, {options['tests']} tests")
    with _sets(options["sets"], options["tests"]) as folders, runtime.use_base(ready) as base:
        result = bench_objects(
            base, folders, seeds=options["seeds"], tests=options["tests"], report=report, earlier=kept.read()
        )
        machine = {"device": str(base.device), "threads": torch.get_num_threads(), "processor": platform.machine()}
        log("A mask of 24 megapixels is measured, by scikit-image too; that takes a minute.")
        return {"base": base.base_key, **machine, **result, "large": large_mask.run()}


def table(result: dict[str, Any]) -> str:
    """A line a row, then the means, then the large mask."""
    lines = [f"{result['base']} on {result['device']}, {result['threads']} threads", ""]
    lines.append(f"{'':<32}" + "".join(f"{label:>13}" for label, _, _ in COLUMNS))
    lines += [_cells(f"{row['set']}, {row['seed']}, {row['method']}", row) for row in result["rows"]]
    lines += ["", *(_cells(f"mean, {method}", found) for method, found in result["summary"].items()), ""]
    large = result["large"]
    lines.append(
        f"{large['objects']:,} objects on {large['megapixels']} megapixels: {large['seconds']:.2f} s and "
        f"{large['peak_mb']:.0f} MB more, {large['seconds_ratio']:.3f} and {large['peak_ratio']:.2f} of scikit-image's "
        f"{large['ways']['skimage']['seconds']:.1f} s and {large['ways']['skimage']['peak_mb']:.0f} MB"
    )
    return "\n".join(lines)


def _cells(label: str, row: dict[str, Any]) -> str:
    return f"{label:<32}" + "".join(f"{form.format(row[key]) if key in row else '':>13}" for _, key, form in COLUMNS)


def _line(row: dict[str, Any]) -> str:
    figures = f"AP {row['ap50']:.3f}, counts off by {row['count_error']:.0%}, {row['ms']:.0f} ms"
    return f"{row['set']}, seed {row['seed']}, {row['method']}: {figures}"


@contextmanager
def _sets(folders: list[Path], tests: int) -> Iterator[list[Path]]:
    """The sets in the folders that number their objects, or drawn cells while the context lasts."""
    if folders:
        yield sets_with_instances(sets_in(folders))
        return
    with tempfile.TemporaryDirectory() as drawn:
        yield [cells.write(Path(drawn) / "cells", TRAIN + tests)]
