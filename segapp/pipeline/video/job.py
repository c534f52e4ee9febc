"""One video to segment, with the callbacks for progress and stopping."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np

from segapp.pipeline.video.demux import Limits
from segapp.pipeline.video.plan import Options, Plan
from segapp.pipeline.video.probe import Source
from segapp.pipeline.video.segments import SegmentStore
from segapp.pipeline.video.stats import Stats


class Verdict(Enum):
    """What the watcher wants next."""

    GO = "go"
    KEEP = "keep"  # stop here and finish the result videos with what is done
    DISCARD = "discard"
    PAUSE = "pause"  # complete the segment, however short it is, and come back later


class Cancelled(Exception):
    """The watcher wanted to discard the job."""


class Paused(Exception):
    """The watcher wanted the machine for something else; what is complete stays for the next call."""


@dataclass
class Report:
    """Where a job stands. fraction 0 to 1; image (uint8 h,w,3) and ids (uint8, any size) are the latest frame's."""

    phase: str
    fraction: float
    eta_seconds: float | None
    frames: int
    segments: int
    source: Source
    plan: Plan
    stats: Stats
    skipped: int = 0
    image: np.ndarray | None = None
    ids: np.ndarray | None = None


Watch = Callable[[Report], Verdict]


@dataclass(frozen=True)
class Job:
    """original: the video as it was sent; source: what the probe found in it; folder: where the results go; store:
    the segments of the results; started: on the monotonic clock."""

    original: Path
    source: Source
    folder: Path
    options: Options
    limits: Limits
    watch: Watch
    store: SegmentStore
    started: float = field(default_factory=time.monotonic)
