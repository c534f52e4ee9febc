"""`bench live` from outside: how long answers to strokes take, and how good they are."""

import platform
from collections.abc import Callable
from typing import Any

import torch

from segapp.bench import live_quality, region_clicks
from segapp.bench.apart import alone
from segapp.bench.run_finetune import Rows, drawn_or_named
from segapp.pipeline.training.finetune import RECIPE
from segapp.worker import networks

LIVE = 3  # counts the changes of how strokes are answered; rows of another one are not taken


def run(options: dict[str, Any], log: Callable[[str], None]) -> dict[str, Any]:
    """Latency in a real session on a server of its own, then the table of strokes; `options` are the command's.

    Raises ValueError where no set is found or one is too small, BenchFailed, and BaseMissing.
    """
    runtime = networks.runtime()
    ready = runtime.base(options["base"])
    log("A server of its own is started on a temporary home; this takes some minutes.")
    times = alone("live", {"strokes": options["requests"]}, {"SEGAPP_BASE": options["base"]})
    stamp = f"{ready.sha256[:12]}, recipe {RECIPE}, live {LIVE}, {options['tests']} tests"
    kept = Rows(options.get("rows"), stamp)

    def report(row: dict[str, Any]) -> None:
        kept.add(row)
        strokes = f"{row['strokes']} strokes" if row["strokes"] else "whole masks"
        log(f"{row['set']}, seed {row['seed']}, {strokes}, {row['way']}: mean IoU {row['miou']:.3f}")

    with drawn_or_named(options["sets"]) as folders, runtime.use_base(ready) as base:
        rows = live_quality.measure(
            base, folders, seeds=options["seeds"], tests=options["tests"], report=report, earlier=kept.read()
        )
        clicks = region_clicks.measure(base, folders, tests=options["tests"], seed=options["seeds"][0])
    machine = {"device": str(base.device), "threads": torch.get_num_threads(), "processor": platform.machine()}
    summary = live_quality.summary(rows)
    found = {"clicks": region_clicks.summary(clicks), "click_rows": clicks}
    return {
        "base": base.base_key,
        **machine,
        **times,
        **found,
        "strokes": summary,
        "means": means(summary),
        "rows": rows,
    }


def means(summary: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over the sets, for each number of strokes, and what the training on strokes keeps of whole masks."""
    found = []
    for strokes in live_quality.STROKES:
        own = [row for row in summary if row["strokes"] == strokes]
        one: dict[str, Any] = {"strokes": strokes}
        for way in live_quality.WAYS:
            one[way] = round(sum(row[way] for row in own) / len(own), 4)
        one["trained_of_whole"] = round(one["trained"] / one["whole"], 3) if one["whole"] else None
        found.append(one)
    return found


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        f"Three visitors at once on {result['device']}: an answer takes {result['p50_ms']} ms (p50), "
        f"{result['p95_ms']} ms (p95), the first {result['first_ms']} ms; "
        f"{result['without_pauses']['strokes_per_second']} strokes a second without pauses",
        f"a new image is answered in {result['opened_p50_ms']} ms (p50), {result['opened_p95_ms']} ms (p95); "
        f"others' images take {result['segment']['beside_p50_ms']} ms beside, "
        f"{result['segment']['alone_p50_ms']} ms alone; {len(result['failed'])} failed",
        f"a click for a region takes {result['region']['p50_ms']} ms (p50), {result['region']['p95_ms']} ms (p95)",
        "",
        f"{'set':<20}{'strokes':>8}" + "".join(f"{way:>9}" for way in live_quality.WAYS),
    ]
    lines[3:3] = ["", *map(_clicks_line, result["clicks"])]
    rows = [*result["strokes"], *({"set": "mean", **row} for row in result["means"])]
    return "\n".join([*lines, *map(_line, rows)])


def _clicks_line(row: dict[str, Any]) -> str:
    return (
        f"a region ({row['way']}): {row['clicks_80']:.1f} clicks to 80 % IoU, {row['clicks_90']:.1f} to 90 %; "
        f"IoU {row['iou_1']:.2f} after one, {row['iou_5']:.2f} after five; {row['ms']:.0f} ms"
    )


def _line(row: dict[str, Any]) -> str:
    return f"{row['set']:<20}{row['strokes']:>8}" + "".join(f"{row[way]:>9.3f}" for way in live_quality.WAYS)
