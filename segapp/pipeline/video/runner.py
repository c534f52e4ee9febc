"""Forward passes in the middle, the writer behind them: frames with images in, complete segments out."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from segapp.pipeline.video.demux import Limits, Tally
from segapp.pipeline.video.frames import Frame, frames
from segapp.pipeline.video.overlay import Paint
from segapp.pipeline.video.probe import Source
from segapp.pipeline.video.segmenter import Segmenter
from segapp.pipeline.video.segments import Drawn, Parts, Segment, SegmentWriter
from segapp.pipeline.video.stats import Stats
from segapp.pipeline.video.threads import Behind

BEHIND = 6  # drawn frames waiting at most
SEGMENT_SECONDS = 10.0
SEGMENT_FRAMES = 300


@dataclass
class Item:
    """A frame; image is the small one for the network (uint8 h,w,3), None where the last mask is carried on."""

    frame: Frame
    image: np.ndarray | None
    cut: bool


@dataclass
class Group:
    """Frames that went to the network together, and the logits that are to come of their images."""

    items: list[Item]
    images: list[np.ndarray]
    logits: Future[Tensor] | None


class Run:
    """What one process does of a clip. count, predicted, skipped and stats include what earlier ones did."""

    def __init__(self, segmenter: Segmenter, source: Source, parts: Parts, alpha: float) -> None:
        self.segmenter, self.source, self.parts = segmenter, source, parts
        self.paint = Paint(segmenter.classes, source.colors, source.height, alpha)
        self.stats = Stats(segmenter.classes, source.seconds, source.rate, source.width * source.height)
        self.count = self.predicted = self.skipped = 0
        self.last_pts = source.first
        self.image: np.ndarray | None = None
        self.ids: np.ndarray | None = None
        self.segments = parts.complete()
        for number in range(self.segments):
            self._remember(parts.read(number))
        self._waiting: list[Item] = []
        self._sent: deque[Group] = deque()
        self._writer: SegmentWriter | None = None
        self._segment_start: int | None = None  # None: the next frame begins a segment
        self._segment_frames = 0
        self._behind: Behind[Drawn | None] | None = None

    def _remember(self, segment: Segment) -> None:
        for pts, predicted, shares in segment.rows:
            self.stats.add(self.source.at(pts), shares)
            self.predicted += predicted
        self.count += len(segment.rows)
        self.skipped = segment.skipped
        self.last_pts = segment.last_pts

    def fraction(self) -> float:
        if not self.count:
            return 0.0
        return min(1.0, (self.last_pts - self.source.first + self.source.step) / (self.source.end - self.source.first))

    def frames(self, original: Path, limits: Limits, tally: Tally) -> Iterator[Frame]:
        """The frames that are still to be worked off."""
        start = self.last_pts + 1 if self.count else None
        return frames(original, self.source, limits, start, tally)

    def take(self, item: Item) -> None:
        """Predict (in batches where that pays), and hand on to the writer. Raises what the writer ran into."""
        self._waiting.append(item)
        images = [waiting.image for waiting in self._waiting if waiting.image is not None]
        if len(images) < self.segmenter.batch and len(self._waiting) < self._most and images:
            return
        self._send()
        while self._passes > self.segmenter.lanes + 1 or sum(len(group.items) for group in self._sent) > self._most:
            self._receive()

    @property
    def _most(self) -> int:
        """Frames on either side of the network, at most."""
        return 4 * max(self.segmenter.batch, self.segmenter.lanes)

    @property
    def _passes(self) -> int:
        return sum(group.logits is not None for group in self._sent)

    def _send(self) -> None:
        """Begin the pass over what waits."""
        items, self._waiting = self._waiting, []
        images = [item.image for item in items if item.image is not None]
        self._sent.append(Group(items, images, self.segmenter.begin(images) if images else None))

    def _receive(self) -> None:
        """Hand on what was sent first."""
        group = self._sent.popleft()
        masks: Iterator[np.ndarray] = iter(())
        if group.logits is not None:
            cuts = [item.cut for item in group.items if item.image is not None]
            masks = iter(self.segmenter.decide(group.logits.result(), group.images, cuts))
        for item in group.items:
            if item.image is not None:
                self.ids, self.image = next(masks), item.image
            assert self.ids is not None, "the first frame is always predicted"
            self._hand_on(Drawn(item.frame, self.ids, item.image is not None))

    def _hand_on(self, drawn: Drawn) -> None:
        if self._behind is None:
            self._behind = Behind(self._write, BEHIND)
        pts = drawn.frame.pts
        if self._segment_start is None:
            self._segment_start, self._segment_frames = pts, 0
        self._behind.put(drawn)
        self.count += 1
        self.predicted += drawn.predicted
        self.last_pts = pts
        self._segment_frames += 1
        length = float((pts - self._segment_start + self.source.step) * self.source.clock)
        if length >= SEGMENT_SECONDS or self._segment_frames >= SEGMENT_FRAMES:
            self._behind.put(None)
            self._segment_start = None

    def _write(self, drawn: Drawn | None) -> None:
        """In the writer's thread: the next frame of the segment, or its end."""
        if drawn is None:
            self._end_segment()
            return
        if self._writer is None:
            segment = Segment(self.segments, self.stats.frames, self.skipped)
            ids = [c.id for c in self.segmenter.classes]
            self._writer = SegmentWriter(self.parts, segment, self.source, self.paint, ids)
        self._writer.add(drawn, self.segmenter.step)
        pts, _, shares = self._writer.segment.rows[-1]
        self.stats.add(self.source.at(pts), shares)

    def _end_segment(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.segment.skipped = self.skipped
            writer.finish()
            self.segments += 1

    def close(self) -> None:
        """Work off what waits and complete the segment, however short it is."""
        if self._waiting:
            self._send()
        while self._sent:
            self._receive()
        behind, self._behind = self._behind, None
        if behind is not None:
            behind.close()
        self._end_segment()
        self._segment_start = None

    def abandon(self) -> None:
        """After an error: leave the incomplete segment, close its files. Without effect after `close`."""
        behind, self._behind = self._behind, None
        if behind is not None:
            behind.stop()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abandon()
