"""Segments: the results of a few seconds of a clip, on disk before the next few begin.

A segment is complete when its record stands beside its films; everything else in the folder is left over from a
process that died and is removed. Joining complete segments needs no encoding.
"""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from segapp.pipeline.video.frames import Frame
from segapp.pipeline.video.overlay import Paint, expanded, mask_png
from segapp.pipeline.video.probe import Source

FILMS = ("overlay", "mask")
QUALITY = {"overlay": "23", "mask": "22"}
# The quickest preset: films a tenth larger for half the time, which the forward pass would miss.
# No B frames: packets then have the order of their frames, so segments follow each other without a gap in time.
ENCODER = {"preset": "ultrafast", "bf": "0"}


@dataclass
class Segment:
    """What one complete segment holds: per frame its time in ticks, whether predicted, and the class shares."""

    number: int
    first_frame: int
    skipped: int
    rows: list[tuple[int, bool, list[float]]] = field(default_factory=list)

    @property
    def last_pts(self) -> int:
        return self.rows[-1][0]


class Parts:
    """The segments of one clip in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def film(self, number: int, kind: str) -> Path:
        return self.folder / f"{number:05d}.{kind}.mp4"

    def masks(self, number: int) -> Path:
        return self.folder / f"{number:05d}.zip"

    def record(self, number: int) -> Path:
        return self.folder / f"{number:05d}.json"

    def complete(self) -> int:
        """How many segments are complete from the beginning on; whatever lies behind them is removed."""
        count = 0
        while self.record(count).exists() and all(self.film(count, kind).exists() for kind in FILMS):
            count += 1
        for path in self.folder.iterdir():
            if not path.name[:5].isdigit() or int(path.name[:5]) >= count:
                path.unlink()
        return count

    def read(self, number: int) -> Segment:
        saved = json.loads(self.record(number).read_text())
        rows = [(int(pts), bool(predicted), [float(v) for v in shares]) for pts, predicted, shares in saved.pop("rows")]
        return Segment(**saved, rows=rows)

    def close(self, segment: Segment) -> None:
        """Declare the segment complete."""
        draft = self.folder / f"{segment.number:05d}.json.part"
        draft.write_text(json.dumps({**segment.__dict__, "rows": segment.rows}))
        draft.replace(self.record(segment.number))


@dataclass
class Drawn:
    """A frame with its mask on the segmenter's grid; image is what the network saw, None where it was carried."""

    frame: Frame
    ids: np.ndarray
    predicted: bool


class SegmentWriter:
    """Encodes one segment: both films, the index masks of its predicted frames, the record."""

    def __init__(self, parts: Parts, segment: Segment, source: Source, paint: Paint, ids: list[int]) -> None:
        self.parts, self.segment, self.source, self.paint = parts, segment, source, paint
        self._class_ids = np.array(ids)
        self._films = [film(parts.film(segment.number, kind), source, QUALITY[kind]) for kind in FILMS]
        self._masks = zipfile.ZipFile(parts.masks(segment.number), "w", zipfile.ZIP_STORED)
        self._first_pts: int | None = None
        self._shares: list[float] = []

    def add(self, drawn: Drawn, step: int) -> None:
        frame, source = drawn.frame, self.source
        ids = expanded(drawn.ids, step, source.height, source.width)
        if drawn.predicted or not self._shares:
            counts = np.bincount(drawn.ids.ravel(), minlength=256)[self._class_ids]
            self._shares = [round(float(share), 6) for share in counts / drawn.ids.size]
        if drawn.predicted:
            number = self.segment.first_frame + len(self.segment.rows)
            self._masks.writestr(f"frame_{number:06d}.png", mask_png(ids, self.paint.rgb))
        if self._first_pts is None:
            self._first_pts = frame.pts
        for image, (container, stream) in zip(self.paint.draw(frame.planes(), ids), self._films, strict=True):
            image.pts, image.time_base = frame.pts - self._first_pts, source.clock
            image.duration = source.step
            tag(image, source)
            container.mux(stream.encode(image))
        self.segment.rows.append((frame.pts, drawn.predicted, self._shares))

    def finish(self) -> Segment:
        """Flush the encoders and declare the segment complete."""
        for container, stream in self._films:
            container.mux(stream.encode(None))
        self.abandon()
        self.parts.close(self.segment)
        return self.segment

    def abandon(self) -> None:
        """Close the files; without a record they count for nothing."""
        for container, _ in self._films:
            container.close()
        self._masks.close()


def film(path: Path, source: Source, quality: str) -> tuple[OutputContainer, VideoStream]:
    """An H.264 film of the source's size (even), clock and colours, open for frames."""
    container = av.open(str(path), "w", format="mp4", options={"video_track_timescale": str(source.clock.denominator)})
    options: dict[str, Any] = {**ENCODER, "crf": quality}
    stream = container.add_stream("libx264", rate=source.rate, options=options)
    stream.width, stream.height = source.width + source.width % 2, source.height + source.height % 2
    stream.pix_fmt = "yuv420p"
    coder = stream.codec_context
    coder.time_base = source.clock
    coder.gop_size = max(1, round(2 * float(source.rate)))  # a key frame every two seconds, so that seeking is quick
    coder.thread_count = 1  # the forward pass has the cores
    coder.sample_aspect_ratio = source.aspect
    coder.colorspace, coder.color_range, coder.color_primaries, coder.color_trc = source.colors
    return container, stream


def tag(image: VideoFrame, source: Source) -> None:
    image.colorspace, image.color_range, image.color_primaries, image.color_trc = source.colors
