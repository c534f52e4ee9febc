"""What goes into the pipeline: frames, with a small image of those that the network is to see. Needs no torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segapp.pipeline.video import plan as plans
from segapp.pipeline.video.cuts import Cuts
from segapp.pipeline.video.demux import Limits, Tally
from segapp.pipeline.video.frames import StoredFrame, frames
from segapp.pipeline.video.probe import Source


@dataclass
class InputFrame:
    """A frame; image is the small one for the network (uint8 h,w,3), None where the last mask is carried on."""

    frame: StoredFrame
    image: np.ndarray | None
    cut: bool


@dataclass(frozen=True)
class Wanted:
    """Which frames of a video, and of which an image. `size`: of the images, height and width. `per_second`: how many
    images, as in plan.py. `start`: in ticks of the source's clock, None for all."""

    source: Source
    limits: Limits
    size: tuple[int, int]
    per_second: float
    start: int | None


def input_frames(path: Path, wanted: Wanted, tally: Tally) -> Iterator[InputFrame]:
    """Frames from the start on, each with an image for the network where it is to be predicted.

    Decodes in this process. Raises InvalidVideo.
    """
    cuts = Cuts()
    before: float | None = None
    for frame in frames(path, wanted.source, wanted.limits, wanted.start, tally):
        at = wanted.source.at(frame.pts)
        cut = cuts(frame.luma())
        due = cut or plans.is_due(wanted.per_second, at, before)
        before = at
        yield InputFrame(frame, frame.rgb(*wanted.size) if due else None, cut)
