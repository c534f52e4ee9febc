"""How many objects a video shows over time: counted on the index masks of its predicted frames, after the last one.

The others carry on with the count before them, as they do with the mask.
"""

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from registry.files import write_atomically
from registry.runtime import LoadedNetwork
from segapp.imaging import decode
from segapp.imaging.class_areas import write_csv
from segapp.imaging.object_options import ObjectOptions
from segapp.measurement import objects
from segapp.measurement.measured import settings_of
from segapp.pipeline.video.stats import MAX_POINTS
from segapp.worker import measuring

SAMPLED = 9  # masks all over the video that tell objects from a ground
Counts = dict[int, int]  # objects by class id


@dataclass(frozen=True)
class VideoObjects:
    """timeline: [[seconds, {class id: mean count}], …], at most MAX_POINTS. summary: mean and most by class id."""

    timeline: list[list[Any]]
    summary: dict[str, dict[str, float]]


def count(folder: Path, network: LoadedNetwork, options: ObjectOptions, hold: Callable[[], None]) -> VideoObjects:
    """Count in every predicted frame of the finished video in `folder`, and add columns to its frames.csv.

    `hold` is called between frames and may raise to end it.
    """
    classes = measuring.classes_of(network)
    names = [name for name, _ in _masks(folder)]
    wanted = {names[round(k)] for k in np.linspace(0, len(names) - 1, min(SAMPLED, len(names)))}
    things = _things(classes, [_ids(content) for name, content in _masks(folder) if name in wanted], options)
    found: dict[int, Counts] = {}
    for name, content in _masks(folder):
        hold()
        counted = objects.find(_ids(content), settings_of(options, things))
        found[int(name.removesuffix(".png").rpartition("_")[2])] = counted.counts(things)
    titles = {int(row["id"]): f"{row['id']} {row['name']} objects" for row in classes}
    return _joined(folder / "frames.csv", found, {k: titles[k] for k in things})


def _things(classes: list[dict[str, Any]], masks: list[np.ndarray], options: ObjectOptions) -> tuple[int, ...]:
    """The classes to count, the same ones in every frame."""
    if options.things is not None:
        return tuple(int(row["id"]) for row in classes if int(row["id"]) in options.things)
    counted = []
    for row in classes:
        things = row["things"]
        if things is None:
            things = not objects.is_background(row) and objects.countable_on_most(masks, int(row["id"])) is not False
        if things:
            counted.append(int(row["id"]))
    return tuple(sorted(counted))


def _masks(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every index mask, in the order of the frames."""
    for part in sorted((folder / "parts").glob("*.zip")):
        with zipfile.ZipFile(part) as archive:
            for name in sorted(archive.namelist()):
                yield name, archive.read(name)


def _ids(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as stored:
        return decode.pixels(stored)


def _joined(path: Path, found: dict[int, Counts], titles: dict[int, str]) -> VideoObjects:
    """Write the counts beside the shares of each frame, and sum them up over time."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    latest: Counts = dict.fromkeys(titles, 0)
    series = []
    for row in rows:
        latest = found.get(int(row[0]), latest)
        row += [str(latest[k]) for k in titles]
        series.append((float(row[1]), latest))
    out = io.StringIO()
    write_csv(out, [*header, *titles.values()], rows)
    write_atomically(path, lambda file: file.write(out.getvalue().encode()))
    values = np.array([[counts[k] for k in titles] for _, counts in series], float).reshape(len(series), len(titles))
    timeline = []
    for piece in np.array_split(np.arange(len(series)), min(MAX_POINTS, len(series))) if series else []:
        means = values[piece].mean(axis=0)
        timeline.append([series[piece[0]][0], {str(k): round(float(m), 2) for k, m in zip(titles, means, strict=True)}])
    summary = {
        str(k): {"mean": round(float(values[:, place].mean()), 2), "most": int(values[:, place].max())}
        for place, k in enumerate(titles)
        if len(series)
    }
    return VideoObjects(timeline, summary)
