"""A video in; out of it, the same video with its masks drawn over it, the masks as a video, and numbers over time.

A source, a callback, a sink: frames are decoded ahead in another process, predicted in the middle, drawn and encoded
in another thread, with short queues between them, so memory does not grow with the video. Results are written in
segments: a process that dies loses only the segment it was in. Knows nothing of rows, visitors or requests.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from registry.runtime import LoadedNetwork
from segapp.confine import ResourceLimits
from segapp.pipeline.video import plan as plans
from segapp.pipeline.video.confined_frames import FrameProcess
from segapp.pipeline.video.demux import InvalidVideo, Limits, Tally
from segapp.pipeline.video.doubts import Moment
from segapp.pipeline.video.inputs import Wanted
from segapp.pipeline.video.job import Cancelled, Job, Paused, Report, Verdict, Watch
from segapp.pipeline.video.mux import join
from segapp.pipeline.video.plan import Options, Plan
from segapp.pipeline.video.probe import Source, probe
from segapp.pipeline.video.runner import FramePredictor, SegmentSink
from segapp.pipeline.video.sandbox import examine
from segapp.pipeline.video.segmenter import Segmenter
from segapp.pipeline.video.segments import KINDS, SegmentStore
from segapp.pipeline.video.stats import Row, write_frames_csv
from segapp.pipeline.video.threads import Prefetcher

DECODED_FRAMES = 6  # waiting for the network at most
LOOK_SECONDS = 0.4  # between two reports to the watcher
LONG_LOOK = ResourceLimits(processor=1800, clock=3600)  # for examining files that may be hours long
ENDINGS = {"overlay.mp4": "_overlay.mp4", "mask.mp4": "_mask.mp4", "frames.csv": ".csv"}  # of files on request


@dataclass
class Outcome:
    """A finished job: overlay.mp4, mask.mp4 and frames.csv lie in its folder, index masks beside its segments."""

    source: Source
    plan: Plan
    frames: int
    predicted: int
    skipped: int
    segments: int
    classes: list[dict[str, Any]]
    timeline: list[list[Any]]
    doubtful: list[Moment]
    notes: list[str]
    seconds: float


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
    """Segment a video into `folder`, continuing after the segments that are complete there.

    `watch` is called with the progress about twice a second and says how to go on; `source` is what a probe found:
    without it the file is probed in this very process. Raises InvalidVideo, Cancelled, Paused, OSError (a full disk).
    """
    started = time.monotonic()
    store = SegmentStore(folder / "parts")
    with closing(FrameProcess()) as decoder:  # started early: it is ready when the network is
        source = source or probe(original, limits)
        job = Job(original, source, folder, options, limits, watch, store, started)
        with closing(Segmenter(net, source.height, source.width, options.damping)) as segmenter:
            plan = kept_or_new_plan(job, segmenter)
            sink = SegmentSink(job, segmenter)
            stopped = predict_frames(job, plan, segmenter, sink, decoder)
    if not store.count:
        raise InvalidVideo("No frame of this video could be decoded. Convert it to H.264 in MP4 and upload it again.")
    return finish(job, plan, sink, stopped)


def kept_or_new_plan(job: Job, segmenter: Segmenter) -> Plan:
    """The plan that earlier segments were made by, or a new one; segments of another plan are removed."""
    path = job.folder / "plan.json"
    model = f"{segmenter.net.key} {segmenter.net.sha256}"
    same = (model, asdict(job.options), job.source.to_dict(), plans.libraries())
    kept = plans.load(path)
    if kept is not None and (kept.model, kept.options, kept.source, kept.libraries) == same:
        return kept
    job.store.clear()
    pace = segmenter.pace()
    rate = plans.choose_rate(job.options.per_second, job.source, pace)
    fresh = Plan(*same, per_second=rate, pace=pace)
    plans.save(path, fresh)
    return fresh


def predict_frames(job: Job, plan: Plan, segmenter: Segmenter, sink: SegmentSink, decoder: FrameProcess) -> bool:
    """Every frame that no complete segment holds, from the source through the network into the sink.

    Returns whether the watcher stopped it early.
    """
    damage = Tally(sink.skipped)
    wanted = Wanted(job.source, job.limits, segmenter.size, plan.per_second, sink.next_pts)
    source = Prefetcher(decoder.frames(job.original, wanted, damage), DECODED_FRAMES)
    predictor = FramePredictor(segmenter)
    progress = Progress(job, plan, sink, predictor)
    stopped = False
    try:
        for frame in source:
            for masked in predictor.add(frame):
                sink.add(masked)
            sink.skipped = damage.skipped
            if not progress.is_due():
                continue
            verdict = job.watch(progress.report())
            if verdict is Verdict.DISCARD:
                raise Cancelled
            if verdict is Verdict.KEEP:
                stopped = True
                break
            if verdict is Verdict.PAUSE:
                complete(predictor, sink)
                raise Paused
        complete(predictor, sink)
        if not stopped and job.watch(progress.report()) is Verdict.DISCARD:
            raise Cancelled
    finally:
        source.close()
        sink.abandon()
    return stopped


def complete(predictor: FramePredictor, sink: SegmentSink) -> None:
    """Predict and write what is under way, and complete the segment, however short it is."""
    for masked in predictor.flush():
        sink.add(masked)
    sink.close()


class Progress:
    """When to report to the watcher, and how long the rest will take."""

    def __init__(self, job: Job, plan: Plan, sink: SegmentSink, predictor: FramePredictor) -> None:
        self._job, self._plan, self._sink, self._predictor = job, plan, sink, predictor
        self._started = self._reported = time.monotonic()
        self._before = sink.fraction()
        self._first = True

    def is_due(self) -> bool:
        if not self._first and time.monotonic() - self._reported < LOOK_SECONDS:
            return False
        self._first, self._reported = False, time.monotonic()
        return True

    def report(self) -> Report:
        sink, source, fraction = self._sink, self._job.source, self._sink.fraction()
        done, spent = fraction - self._before, time.monotonic() - self._started
        if spent > 3 and done > 0:
            eta = spent / done * (1 - fraction)
        else:
            left = plans.predicted_frames(self._plan.per_second, source) * (1 - fraction)
            eta = left * self._plan.pace
        return Report(
            phase="predicting",
            fraction=0.97 * fraction,
            eta_seconds=round(eta, 1),
            frames=sink.frames,
            segments=self._job.store.count,
            source=source,
            plan=self._plan,
            stats=sink.stats,
            skipped=sink.skipped,
            image=self._predictor.image,
            ids=self._predictor.ids,
        )


def finish(job: Job, plan: Plan, sink: SegmentSink, stopped: bool) -> Outcome:
    """Join the segments, write the table, and sum up."""
    source, count = job.source, job.store.count
    looked = time.monotonic()

    def look() -> None:
        nonlocal looked
        if time.monotonic() - looked < LOOK_SECONDS:
            return
        looked = time.monotonic()
        report = Report("joining", 0.98, 1.0, sink.frames, count, source, plan, sink.stats, sink.skipped)
        if job.watch(report) is Verdict.DISCARD:
            raise Cancelled

    whole = [join(job, kind, look) for kind in KINDS]
    write_frames_csv(job.folder / "frames.csv", sink.stats.classes, rows(job))
    notes = []
    if stopped:
        notes.append(f"Stopped on request; the result holds the first {source.at(sink.last_pts):.0f} seconds.")
    if source.cut_short:
        notes.append("The file is shorter than its header states; every frame in it was used.")
    if sink.skipped:
        were = "1 frame was" if sink.skipped == 1 else f"{sink.skipped} frames were"
        notes.append(f"{were} damaged and left out.")
    if not all(whole):
        notes.append("The sound could not be copied into the result.")
    return Outcome(
        source=source,
        plan=plan,
        frames=sink.frames,
        predicted=sink.predicted,
        skipped=sink.skipped,
        segments=count,
        classes=sink.stats.summary(),
        timeline=sink.stats.timeline(),
        doubtful=sink.doubts.moments(),
        notes=notes,
        seconds=time.monotonic() - job.started,
    )


def rows(job: Job) -> Iterator[Row]:
    """Every frame of the complete segments, one segment in memory at a time."""
    for number in range(job.store.count):
        segment = job.store.read(number)
        for offset, (pts, predicted, shares, doubt) in enumerate(segment.rows):
            yield segment.first_frame + offset, job.source.at(pts), predicted, shares, doubt


def segment_file(
    net: LoadedNetwork, file: Path, out: Path, options: Options | None = None, limits: Limits | None = None
) -> dict[str, Any]:
    """Write `<stem>_overlay.mp4`, `<stem>_mask.mp4` and `<stem>.csv` into `out`, and say what is on the video.

    Raises InvalidVideo and OSError; nothing is left in `out` then.
    """
    targets = {name: out / f"{file.stem}{ending}" for name, ending in ENDINGS.items()}
    limits = limits or Limits(bytes=1 << 40, seconds=6 * 3600, pixels=1 << 25)
    with tempfile.TemporaryDirectory(dir=out, prefix=".video-") as draft:
        file.stat()  # raises OSError for a file that is gone
        source = examine(file.resolve(), limits, LONG_LOOK)
        done = process(net, file, Path(draft), options or Options(), limits, source=source)
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
