"""Segments: the results of a few seconds of a video, on disk before the next few begin.

A segment is complete when its record stands beside its videos; everything else in the folder is left over from a
process that died and is removed. Joining complete segments needs no encoding.
"""

import json
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from segapp.pipeline.video.frames import StoredFrame
from segapp.pipeline.video.overlay import Painter, expanded, mask_png
from segapp.pipeline.video.probe import Source

KINDS = ("overlay", "mask")  # of result videos
QUALITY = {"overlay": "23", "mask": "22"}
# The fastest preset: files a tenth larger for half the encoding time, which would be taken from the forward pass.
# No B frames: packets then have the order of their frames, so segments follow each other without a gap in time.
ENCODER = {"preset": "ultrafast", "bf": "0"}


@dataclass
class Segment:
    """What one complete segment holds: per frame its time in ticks, whether predicted, the class shares, and the doubt
    of its mask (None in records of earlier versions)."""

    number: int
    first_frame: int
    skipped: int
    rows: list[tuple[int, bool, list[float], float | None]] = field(default_factory=list)

    @property
    def last_pts(self) -> int:
        return self.rows[-1][0]


class SegmentStore:
    """The segments of one video in a folder of their own. count: how many are complete from the first one on.

    Opening it removes what lies behind the last complete segment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.count = 0
        while self._is_complete(self.count):
            self.count += 1
        for path in folder.iterdir():
            if not path.name[:5].isdigit() or int(path.name[:5]) >= self.count:
                path.unlink()

    def _is_complete(self, number: int) -> bool:
        return self.record(number).exists() and all(self.video(number, kind).exists() for kind in KINDS)

    def video(self, number: int, kind: str) -> Path:
        return self.folder / f"{number:05d}.{kind}.mp4"

    def masks(self, number: int) -> Path:
        return self.folder / f"{number:05d}.zip"

    def record(self, number: int) -> Path:
        return self.folder / f"{number:05d}.json"

    def clear(self) -> None:
        """Remove all segments."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.count = 0

    def read(self, number: int) -> Segment:
        saved = json.loads(self.record(number).read_text())
        rows = [
            (int(pts), bool(predicted), [float(v) for v in shares], doubt[0] if doubt else None)
            for pts, predicted, shares, *doubt in saved.pop("rows")
        ]
        return Segment(**saved, rows=rows)

    def complete(self, segment: Segment) -> None:
        """Write the record of the segment after the last one, which makes it complete."""
        draft = self.folder / f"{segment.number:05d}.json.part"
        draft.write_text(json.dumps({**segment.__dict__, "rows": segment.rows}))
        draft.replace(self.record(segment.number))
        self.count = segment.number + 1


@dataclass
class MaskedFrame:
    """A frame with its mask (uint8 of class ids) on the segmenter's grid, and the mask's doubt; predicted: not carried
    on from before."""

    frame: StoredFrame
    ids: np.ndarray
    predicted: bool
    doubt: float


class SegmentWriter:
    """Encodes one segment: both result videos, the index masks of its predicted frames, the record."""

    def __init__(
        self, store: SegmentStore, segment: Segment, source: Source, painter: Painter, class_ids: list[int]
    ) -> None:
        self.store, self.segment, self.source, self.painter = store, segment, source, painter
        self._class_ids = np.array(class_ids)
        self._videos = [encoder(store.video(segment.number, kind), source, QUALITY[kind]) for kind in KINDS]
        self._masks = zipfile.ZipFile(store.masks(segment.number), "w", zipfile.ZIP_STORED)
        self._first_pts: int | None = None
        self._shares: list[float] = []

    def add(self, masked: MaskedFrame, step: int) -> None:
        """The next frame; `step`: its pixels to one of its mask's."""
        frame, source = masked.frame, self.source
        ids = expanded(masked.ids, step, source.height, source.width)
        if masked.predicted or not self._shares:
            counts = np.bincount(masked.ids.ravel(), minlength=256)[self._class_ids]
            self._shares = [round(float(share), 6) for share in counts / masked.ids.size]
        if masked.predicted:
            number = self.segment.first_frame + len(self.segment.rows)
            self._masks.writestr(f"frame_{number:06d}.png", mask_png(ids, self.painter.rgb))
        if self._first_pts is None:
            self._first_pts = frame.pts
        for image, (container, stream) in zip(self.painter.draw(frame.planes(), ids), self._videos, strict=True):
            image.pts, image.time_base = frame.pts - self._first_pts, source.clock
            image.duration = source.step
            tag(image, source)
            container.mux(stream.encode(image))
        self.segment.rows.append((frame.pts, masked.predicted, self._shares, masked.doubt))

    def finish(self) -> Segment:
        """Flush the encoders and make the segment complete."""
        for container, stream in self._videos:
            container.mux(stream.encode(None))
        self.abandon()
        self.store.complete(self.segment)
        return self.segment

    def abandon(self) -> None:
        """Close the files; without a record they count for nothing."""
        for container, _ in self._videos:
            container.close()
        self._masks.close()


def encoder(path: Path, source: Source, quality: str) -> tuple[OutputContainer, VideoStream]:
    """An H.264 file of the source's size (even), clock and colours, open for frames."""
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
