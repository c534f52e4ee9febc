"""A clip in, the same clip with its masks over it out, with numbers over time.

Decoding works ahead of the forward passes and drawing and encoding behind them, with short queues between, so memory
does not grow with the clip. Results are written in segments: a process that dies costs the segment it was in. Knows
nothing of rows, visitors or requests.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from registry.runtime import LoadedNetwork
from segapp.pipeline.video import plan as clip_plan
from segapp.pipeline.video.demux import InvalidVideo, Limits, Tally
from segapp.pipeline.video.mux import join
from segapp.pipeline.video.plan import Options, Plan
from segapp.pipeline.video.probe import Source, probe
from segapp.pipeline.video.runner import Item, Run
from segapp.pipeline.video.segmenter import Segmenter
from segapp.pipeline.video.segments import FILMS, Parts
from segapp.pipeline.video.smoothing import Cuts
from segapp.pipeline.video.stats import Row, Stats, write_csv
from segapp.pipeline.video.threads import Ahead

AHEAD = 6  # decoded frames waiting at most
LOOK_SECONDS = 0.4  # between two looks at whether to go on
ENDINGS = {"overlay.mp4": "_overlay.mp4", "mask.mp4": "_mask.mp4", "frames.csv": ".csv"}  # of files on request


class Verdict(Enum):
    """What whoever watches wants next."""

    GO = "go"
    KEEP = "keep"  # stop here and finish the film with what is done
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


@dataclass
class Outcome:
    """A finished job: overlay.mp4, mask.mp4 and frames.csv lie in its folder, index masks in its parts."""

    source: Source
    plan: Plan
    frames: int
    predicted: int
    skipped: int
    segments: int
    classes: list[dict[str, Any]]
    timeline: list[list[Any]]
    notes: list[str]
    seconds: float


Watch = Callable[[Report], Verdict]


def go_on(report: Report) -> Verdict:
    return Verdict.GO


def process(
    net: LoadedNetwork,
    original: Path,
    folder: Path,
    options: Options,
    limits: Limits,
    watch: Watch = go_on,
    source: Source | None = None,
) -> Outcome:
    """Segment a clip into `folder`, going on behind the segments that are complete there.

    `watch` hears of progress about twice a second and says how to go on; `source` is what a probe found, where one
    was made already. Raises InvalidVideo, Cancelled, Paused and OSError (a full disk).
    """
    started = time.monotonic()
    source = source or probe(original, limits)
    parts = Parts(folder / "parts")
    with closing(Segmenter(net, source.height, source.width, options.damping)) as segmenter:
        plan = settle(segmenter, source, options, folder, parts)
        run = Run(segmenter, source, parts, options.alpha)
        stopped = predict_all(run, original, plan, limits, watch)
    if not run.parts.complete():
        raise InvalidVideo("No frame of this video could be decoded. Convert it to H.264 in MP4 and upload it again.")
    return finish(run, original, folder, plan, stopped, watch, started)


def settle(segmenter: Segmenter, source: Source, options: Options, folder: Path, parts: Parts) -> Plan:
    """The plan that earlier segments were made by, or a new one; segments of another plan are removed."""
    path = folder / "plan.json"
    model = f"{segmenter.net.key} {segmenter.net.sha256}"
    same = (model, asdict(options), source.to_dict(), clip_plan.libraries())
    kept = clip_plan.load(path)
    if kept is not None and (kept.model, kept.options, kept.source, kept.libraries) == same:
        return kept
    shutil.rmtree(parts.folder)
    parts.folder.mkdir()
    pace = segmenter.pace()
    rate = clip_plan.choose_rate(options.per_second, source, pace)
    fresh = Plan(*same, per_second=rate, pace=pace)
    clip_plan.save(path, fresh)
    return fresh


def predict_all(run: Run, original: Path, plan: Plan, limits: Limits, watch: Watch) -> bool:
    """Work off every frame that no complete segment holds. Returns whether it was stopped early on wish."""
    tally = Tally(run.skipped)
    ahead = Ahead(items(run, original, plan, limits, tally), AHEAD)
    clock = Clock(run, plan)
    stopped = False
    try:
        for item in ahead:
            run.take(item)
            run.skipped = tally.skipped
            if not clock.is_time():
                continue
            verdict = watch(clock.report())
            if verdict is Verdict.DISCARD:
                raise Cancelled
            if verdict is Verdict.KEEP:
                stopped = True
                break
            if verdict is Verdict.PAUSE:
                run.close()
                raise Paused
        run.close()
        if not stopped and watch(clock.report()) is Verdict.DISCARD:
            raise Cancelled
    finally:
        ahead.close()
        run.abandon()
    return stopped


def items(run: Run, original: Path, plan: Plan, limits: Limits, tally: Tally) -> Iterator[Item]:
    """Frames behind the complete segments, each with the small image for the network where it is to be predicted."""
    cuts = Cuts()
    before: float | None = None
    for frame in run.frames(original, limits, tally):
        at = run.source.at(frame.pts)
        cut = cuts(frame.luma())
        due = cut or clip_plan.is_due(plan.per_second, at, before)
        before = at
        yield Item(frame, frame.rgb(*run.segmenter.size) if due else None, cut)


class Clock:
    """When to look again, and how long it will take."""

    def __init__(self, run: Run, plan: Plan) -> None:
        self._run, self._plan = run, plan
        self._started = self._looked = time.monotonic()
        self._before = run.fraction()
        self._first = True

    def is_time(self) -> bool:
        if not self._first and time.monotonic() - self._looked < LOOK_SECONDS:
            return False
        self._first, self._looked = False, time.monotonic()
        return True

    def report(self) -> Report:
        run, fraction = self._run, self._run.fraction()
        done, spent = fraction - self._before, time.monotonic() - self._started
        if spent > 3 and done > 0:
            eta = spent / done * (1 - fraction)
        else:
            left = clip_plan.predicted_frames(self._plan.per_second, run.source) * (1 - fraction)
            eta = left * self._plan.pace
        return Report(
            phase="predicting",
            fraction=0.97 * fraction,
            eta_seconds=round(eta, 1),
            frames=run.count,
            segments=run.segments,
            source=run.source,
            plan=self._plan,
            stats=run.stats,
            skipped=run.skipped,
            image=run.image,
            ids=run.ids,
        )


def finish(run: Run, original: Path, folder: Path, plan: Plan, stopped: bool, watch: Watch, started: float) -> Outcome:
    """Join the segments, write the table, and sum up."""
    source, count = run.source, run.segments

    looked = time.monotonic()

    def look() -> None:
        nonlocal looked
        if time.monotonic() - looked < LOOK_SECONDS:
            return
        looked = time.monotonic()
        report = Report("joining", 0.98, 1.0, run.count, count, source, plan, run.stats, run.skipped)
        if watch(report) is Verdict.DISCARD:
            raise Cancelled

    whole = [join(run.parts, count, kind, source, original, folder / f"{kind}.mp4", look) for kind in FILMS]
    write_csv(folder / "frames.csv", run.segmenter.classes, rows(run.parts, count, source))
    notes = []
    if stopped:
        notes.append(f"Stopped on request; the film holds the first {source.at(run.last_pts):.0f} seconds.")
    if source.cut_short:
        notes.append("The file ends before its header says so; everything that is there was used.")
    if run.skipped:
        frames = "1 frame was" if run.skipped == 1 else f"{run.skipped} frames were"
        notes.append(f"{frames} damaged and left out.")
    if not all(whole):
        notes.append("The sound could not be carried over.")
    return Outcome(
        source=source,
        plan=plan,
        frames=run.count,
        predicted=run.predicted,
        skipped=run.skipped,
        segments=count,
        classes=run.stats.summary(),
        timeline=run.stats.timeline(),
        notes=notes,
        seconds=time.monotonic() - started,
    )


def rows(parts: Parts, count: int, source: Source) -> Iterator[Row]:
    """Every frame of the complete segments, one segment in memory at a time."""
    for number in range(count):
        segment = parts.read(number)
        for offset, (pts, predicted, shares) in enumerate(segment.rows):
            yield segment.first_frame + offset, source.at(pts), predicted, shares


def segment_file(
    net: LoadedNetwork, file: Path, out: Path, options: Options | None = None, limits: Limits | None = None
) -> dict[str, Any]:
    """Write `<stem>_overlay.mp4`, `<stem>_mask.mp4` and `<stem>.csv` into `out`, and say what is on the clip.

    Raises InvalidVideo and OSError; nothing is left in `out` then.
    """
    targets = {name: out / f"{file.stem}{ending}" for name, ending in ENDINGS.items()}
    limits = limits or Limits(bytes=1 << 40, seconds=6 * 3600, pixels=1 << 25)
    with tempfile.TemporaryDirectory(dir=out, prefix=".clip-") as draft:
        done = process(net, file, Path(draft), options or Options(), limits)
        for name, target in targets.items():
            (Path(draft) / name).replace(target)
    return {
        "file": str(file.resolve()),
        "mask": str(targets["mask.mp4"].resolve()),
        "overlay": str(targets["overlay.mp4"].resolve()),
        "table": str(targets["frames.csv"].resolve()),
        "model_key": net.key,
        "classes": done.classes,
        "frames": done.frames,
        "frames_predicted": done.predicted,
        "frames_skipped": done.skipped,
        "inference_ms": round(1000 * done.seconds / max(1, done.frames), 1),
        "seconds": round(done.seconds, 2),
        "notes": done.notes,
    }
