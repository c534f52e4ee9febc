"""A video file as a stream of upright frames. Knows nothing of networks, masks or rows."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream

from segapp.imaging import container as containers
from segapp.pipeline.video.demux import Limits, Tally, as_yuv420p, decoded, image_stream, opened
from segapp.pipeline.video.probe import COMMON_CLOCK, Source


class StoredFrame:
    """One upright frame. pts is in ticks of the source's clock; `coded`: its three planes before turning."""

    def __init__(self, coded: list[np.ndarray], pts: int, source: Source) -> None:
        self._coded, self.pts, self.source = coded, pts, source

    def planes(self) -> list[np.ndarray]:
        """Y at H,W and U, V at half of it, rounded up: uint8 views."""
        return [self._upright(plane) for plane in self.coded()]

    def coded(self) -> list[np.ndarray]:
        """The planes as they are coded, not turned."""
        return self._coded

    def _upright(self, image: np.ndarray) -> np.ndarray:
        if self.source.mirror:
            image = image[:, ::-1]
        return np.rot90(image, self.source.turn) if self.source.turn else image


class Frame(StoredFrame):
    """A frame in the decoder's own buffers; planes are made when asked for."""

    def __init__(self, raw: VideoFrame, pts: int, source: Source) -> None:
        super().__init__([], pts, source)
        self.raw = raw

    def coded(self) -> list[np.ndarray]:
        """Views of the decoder's buffers."""
        return planes_of(self.raw)

    def luma(self) -> np.ndarray:
        """The Y plane as it is coded: enough to compare frames with each other."""
        return self.coded()[0]

    def rgb(self, height: int, width: int) -> np.ndarray:
        """The image at another size, uint8 height,width,3; shrunk by area, so that nothing flickers."""
        across = self.source.turn % 2 == 1
        small = self.raw.reformat(
            width=height if across else width,
            height=width if across else height,
            format="rgb24",
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.AREA,
            threads=1,
        )
        return np.ascontiguousarray(self._upright(small.to_ndarray()))


def planes_of(raw: VideoFrame) -> list[np.ndarray]:
    """The three planes of a yuv420p frame without the padding at the end of their lines; views."""
    return [
        np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in raw.planes
    ]


def frames(
    path: Path, source: Source, limits: Limits, start: int | None = None, tally: Tally | None = None
) -> Iterator[Frame]:
    """The frames from `start` on (ticks of the clock), times strictly rising, all yuv420p of the probed size.

    A later start is reached through the file's index, or by decoding from the beginning where that leads behind it.
    """
    tally = tally or Tally()
    if start is not None:
        found = from_index(path, source, limits, start, tally)
        if found is not None:
            yield from found
            return
    with opened(path) as container:
        stream = image_stream(container, limits)
        raws = decoded(container, stream, tally)
        if container.format.name == containers.AVI:
            raws = presented(raws, stream, source)
        yield from timed(raws, stream, source, start or source.first, tally)


def presented(raws: Iterator[VideoFrame], stream: VideoStream, source: Source) -> Iterator[VideoFrame]:
    """Frames of an AVI file with the times they are shown at. It stores only the times at which they are decoded:
    those rise with the frames that come out, some later than shown by as much as the first one is."""
    first = round(source.first * source.clock / Fraction(stream.time_base or COMMON_CLOCK))
    delay: int | None = None
    for raw in raws:
        if raw.dts is None:
            raw.pts = None  # at the end: one frame after the other
        else:
            delay = raw.dts - first if delay is None else delay
            raw.pts = raw.dts - delay
        yield raw


def from_index(path: Path, source: Source, limits: Limits, start: int, tally: Tally) -> Iterator[Frame] | None:
    """The frames from `start` on by seeking; None when the file cannot be sought or the index leads behind it."""
    with opened(path) as container:
        if container.format.name == containers.AVI:
            return None  # see `presented`: times are counted from the first frame on
        stream = image_stream(container, limits)
        if not sought(container, stream, source, start):
            return None
        first = next(decoded(container, stream, Tally()), None)
        if first is None or first.pts is None or ticks(first.pts, stream, source) > start:
            return None
    return seeking(path, source, limits, start, tally)


def seeking(path: Path, source: Source, limits: Limits, start: int, tally: Tally) -> Iterator[Frame]:
    with opened(path) as container:
        stream = image_stream(container, limits)
        sought(container, stream, source, start)
        yield from timed(decoded(container, stream, tally), stream, source, start, tally)


def sought(container: InputContainer, stream: VideoStream, source: Source, start: int) -> bool:
    own = Fraction(stream.time_base or COMMON_CLOCK)
    try:
        container.seek(int(start * source.clock / own), stream=stream, backward=True)
    except av.error.FFmpegError:
        return False
    return True


def ticks(pts: int, stream: VideoStream, source: Source) -> int:
    """A time of the stream in ticks of the source's clock."""
    return round(pts * Fraction(stream.time_base or COMMON_CLOCK) / source.clock)


def timed(raws: Iterator[VideoFrame], stream: VideoStream, source: Source, start: int, tally: Tally) -> Iterator[Frame]:
    """Frames with strictly rising times from `start` on; damage before it is not counted."""
    before = tally.skipped
    last: int | None = None
    for raw in raws:
        if raw.pts is not None:
            pts = ticks(raw.pts, stream, source)
        else:
            pts = source.first if last is None else last + source.step
        if last is not None and pts <= last:
            tally.skipped += 1  # two frames cannot be shown at the same time
            continue
        last = pts
        if pts < start:
            tally.skipped = before
        else:
            yield Frame(as_yuv420p(raw, *source.coded_size), pts, source)
