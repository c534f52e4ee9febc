"""`bench segment` from outside, and its figures for people. Free of torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from segapp.bench.apart import alone
from segapp.imaging import formats

MOST = 60  # requests in each phase; more say nothing new about medians


def run(options: dict[str, Any], log: Callable[[str], None]) -> dict[str, Any]:
    """What a request, an activation and a switch cost. Raises ValueError where --sets has no image, BenchFailed."""
    folders: list[Path] = options["sets"]
    files = sorted(path for folder in folders for path in folder.rglob("*") if is_image(path))
    if folders and not files:
        raise ValueError(f"There is no image in {', '.join(map(str, folders))}. Name a folder with images.")
    log("A server of its own is started on a temporary home; this takes some minutes.")
    wanted = {
        "requests": max(1, min(MOST, options["requests"])),
        "base": options["base"],
        "images": [str(path.resolve()) for path in files],
    }
    return alone("segment", wanted)


def is_image(path: Path) -> bool:
    return formats.is_image(path) and path.parent.name != "masks"


def table(result: dict[str, Any]) -> str:
    """A line a figure, each with what it should be at most."""
    training = result["training"]
    lines = ["p50 in ms"]
    for row in result["requests"]:
        lines += [
            f"{row['base']}, {result['threads']} threads, {row['requests']} requests",
            f"  HTTP in to JSON out             {row['request_p50_ms']:9.1f}   bare {row['bare_p50_ms']:.1f}: "
            f"{row['overhead']} x (at most {row['target']})",
            f"    beside one that keeps freed memory, as workers do     bare {row['bare_kept_p50_ms']:.1f}: "
            f"{row['overhead_of_kept']} x",
            f"    of which the service's own    {row['around_p50_ms']:9.1f}",
        ]
    lines += [
        f"{result['base']}, {training['requests']} requests",
        f"  while a training runs           {training['training_p50_ms']:9.1f}   idle {training['idle_p50_ms']:.1f}: "
        f"{training['slower']} x (at most {training['target']})",
    ]
    for row in result["models"]:
        targets = row["targets"]
        lines += [
            f"{row['base']}, encoder of any values",
            f"  cold activation                 {row['cold_ms']:9.1f}   building and loading all {row['full_ms']:.0f}: "
            f"{row['cold_over_full']:.4f} x (at most {targets['cold_over_full']:.2f})",
            f"  another model, same image     {row['switch_ms']:9.1f}   first look {row['look_ms']:.1f}: "
            f"{row['switch_over_look']} x (at most {targets['switch_over_look']:.2f})",
            f"  file of a quick model, MB       {row['file_mb']:9.2f}   half precision {row['half_mb']:.2f}, whole "
            f"{row['full_mb']:.1f} (at most {targets['file_mb']:.0f})",
        ]
    return "\n".join(lines)
