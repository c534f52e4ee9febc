"""What `manage.py bench video` measures with this installation's base: the pipeline against the bare network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings

from registry.memory import keep_freed
from registry.runtime import Runtime
from segapp.bench.video import bench
from segapp.imaging.formats import is_video


def run(options: dict[str, Any], log: Callable[[str], None]) -> dict[str, Any]:
    """A row a video in the folders of `options["sets"]`, or one for a drawn video. Raises ValueError without videos."""
    folders: list[Path] = options["sets"]
    videos = [video for folder in folders for video in _videos(folder)]
    if folders and not videos:
        raise ValueError(f"There is no video in {', '.join(map(str, folders))}. Name a folder with videos.")
    # Not the workers' runtime: first both run as in any plain process, then both keep freed memory, as workers do.
    runtime = Runtime(settings.MEDIA_ROOT, settings.SEGAPP_WEIGHTS, settings.SEGAPP_DEVICE)
    with runtime.use_base(runtime.base(options["base"])) as base:
        rows = bench(base, videos)
        if keep_freed():
            rows = [row | {"kept": again} for row, again in zip(rows, bench(base, videos), strict=True)]
        return {"base": base.base_key, "device": str(base.device), "rows": rows}


def table(result: dict[str, Any]) -> str:
    """A line a video, and one more for it where freed memory is kept."""
    lines = [f"{'video':<28}{'size':>12}{'frames':>8}{'bare fps':>10}{'fps':>8}{'ratio':>8}{'target':>8}"]
    for row in result["rows"]:
        lines.append(f"{row['clip']:<28}{row['size']:>12}{row['frames']:>8}{_figures(row)}")
        if "kept" in row:
            lines.append(f"{'  keeping freed memory':<48}{_figures(row['kept'])}")
    return "\n".join(lines)


def _figures(row: dict[str, Any]) -> str:
    return f"{row['bare_fps']:>10.1f}{row['fps']:>8.1f}{row['ratio']:>8.2f}{row['target']:>8.2f}"


def _videos(folder: Path) -> list[Path]:
    """The videos of a folder, or the one that is named itself."""
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.rglob("*") if is_video(path))
