"""The middle and the end of a video's way: frames in, masks from the network, complete segments out."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from segapp.pipeline.video.doubts import Doubts
from segapp.pipeline.video.inputs import InputFrame
from segapp.pipeline.video.job import Job
from segapp.pipeline.video.overlay import Painter
from segapp.pipeline.video.segmenter import Segmenter
from segapp.pipeline.video.segments import MaskedFrame, Segment, SegmentWriter
from segapp.pipeline.video.stats import Stats
from segapp.pipeline.video.threads import WriterThread

MASKED_FRAMES = 6  # waiting to be drawn and encoded at most
SEGMENT_SECONDS = 10.0
SEGMENT_FRAMES = 300


@dataclass
class Batch:
    """Frames that went to the network together, and the logits that are to come of their images."""

    frames: list[InputFrame]
    images: list[np.ndarray]
    logits: Future[Tensor] | None


class FramePredictor:
    """Frames in, the same frames with masks out, in order, some later: several forward passes run at once.

    image and ids: what the network saw last, and its mask; None before the first one.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.image: np.ndarray | None = None
        self.ids: np.ndarray | None = None
        self._doubt = 0.0
        self._segmenter = segmenter
        self._waiting: list[InputFrame] = []
        self._sent: deque[Batch] = deque()
        self._max_frames = 4 * max(segmenter.batch, segmenter.passes)  # on either side of the network

    def add(self, frame: InputFrame) -> Iterator[MaskedFrame]:
        """Take a frame, in batches where that pays; gives those whose masks are due."""
        self._waiting.append(frame)
        images = sum(waiting.image is not None for waiting in self._waiting)
        if 0 < images < self._segmenter.batch and len(self._waiting) < self._max_frames:
            return
        self._send()
        while self._is_full():
            yield from self._receive()

    def flush(self) -> Iterator[MaskedFrame]:
        """The frames that have not been given back yet."""
        if self._waiting:
            self._send()
        while self._sent:
            yield from self._receive()

    def _is_full(self) -> bool:
        passes = sum(batch.logits is not None for batch in self._sent)
        return passes > self._segmenter.passes + 1 or sum(len(batch.frames) for batch in self._sent) > self._max_frames

    def _send(self) -> None:
        """Begin the forward pass over what waits."""
        waiting, self._waiting = self._waiting, []
        images = [frame.image for frame in waiting if frame.image is not None]
        self._sent.append(Batch(waiting, images, self._segmenter.submit(images) if images else None))

    def _receive(self) -> Iterator[MaskedFrame]:
        """The frames of the batch that was sent first."""
        batch = self._sent.popleft()
        masks: Iterator[tuple[np.ndarray, float]] = iter(())
        if batch.logits is not None:
            cuts = [frame.cut for frame in batch.frames if frame.image is not None]
            masks = iter(self._segmenter.decide(batch.logits.result(), batch.images, cuts))
        for frame in batch.frames:
            if frame.image is not None:
                (self.ids, self._doubt), self.image = next(masks), frame.image
            assert self.ids is not None, "the first frame is always predicted"
            yield MaskedFrame(frame.frame, self.ids, frame.image is not None, self._doubt)


class SegmentSink:
    """Draws and encodes frames with masks in a thread of its own, a segment after the other.

    frames, predicted, skipped, stats and doubts include the segments that were complete before.
    """

    def __init__(self, job: Job, segmenter: Segmenter) -> None:
        source, classes = job.source, segmenter.classes
        self._source, self._store = source, job.store
        self._painter = Painter(classes, source.colors, source.height, job.options.alpha)
        self._class_ids = [c.id for c in classes]
        self._mask_step = segmenter.step
        self.stats = Stats(classes, source.seconds, source.rate, source.width * source.height)
        self.doubts = Doubts(source.seconds)
        self.frames = self.predicted = self.skipped = 0
        self.last_pts = source.first
        for number in range(self._store.count):
            self._count(self._store.read(number))
        self._writer: SegmentWriter | None = None
        self._segment_start: int | None = None  # None: the next frame begins a segment
        self._segment_frames = 0
        self._thread: WriterThread[MaskedFrame | None] | None = None

    def _count(self, segment: Segment) -> None:
        for offset, (pts, predicted, shares, doubt) in enumerate(segment.rows):
            self.stats.add(self._source.at(pts), shares)
            if predicted and doubt is not None:
                self.doubts.add(self._source.at(pts), doubt, segment.first_frame + offset)
            self.predicted += predicted
        self.frames += len(segment.rows)
        self.skipped = segment.skipped
        self.last_pts = segment.last_pts

    @property
    def next_pts(self) -> int | None:
        """Where decoding must start, in ticks; None: at the beginning."""
        return self.last_pts + 1 if self.frames else None

    def fraction(self) -> float:
        """The part of the video that has been added, 0 to 1."""
        source = self._source
        if not self.frames:
            return 0.0
        return min(1.0, (self.last_pts - source.first + source.step) / (source.end - source.first))

    def add(self, masked: MaskedFrame) -> None:
        """Hand the next frame to the writer's thread. Raises what that ran into."""
        if self._thread is None:
            self._thread = WriterThread(self._write, MASKED_FRAMES)
        pts = masked.frame.pts
        if self._segment_start is None:
            self._segment_start, self._segment_frames = pts, 0
        self._thread.put(masked)
        self.frames += 1
        self.predicted += masked.predicted
        self.last_pts = pts
        self._segment_frames += 1
        length = float((pts - self._segment_start + self._source.step) * self._source.clock)
        if length >= SEGMENT_SECONDS or self._segment_frames >= SEGMENT_FRAMES:
            self._thread.put(None)
            self._segment_start = None

    def _write(self, masked: MaskedFrame | None) -> None:
        """In the writer's thread: the next frame of the segment, or its end."""
        if masked is None:
            self._end_segment()
            return
        if self._writer is None:
            segment = Segment(self._store.count, self.stats.frames, self.skipped)
            self._writer = SegmentWriter(self._store, segment, self._source, self._painter, self._class_ids)
        self._writer.add(masked, self._mask_step)
        segment = self._writer.segment
        pts, predicted, shares, doubt = segment.rows[-1]
        self.stats.add(self._source.at(pts), shares)
        if predicted and doubt is not None:
            self.doubts.add(self._source.at(pts), doubt, segment.first_frame + len(segment.rows) - 1)

    def _end_segment(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.segment.skipped = self.skipped
            writer.finish()

    def close(self) -> None:
        """Wait for the thread and complete the segment, however short it is."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()
        self._end_segment()
        self._segment_start = None

    def abandon(self) -> None:
        """After an error: leave the incomplete segment, close its files. Without effect after `close`."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abandon()
