"""From segments to one video that plays in a browser: no encoding, the source's times, the source's sound."""

import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from segapp.pipeline.video.demux import opened
from segapp.pipeline.video.job import Job

COPIED_AUDIO = ("aac", "mp3")  # what browsers play in MP4; the rest becomes AAC
AAC_FRAME = 1024
MAX_HERTZ = 48_000
LOOK_EVERY = 200  # packets between two looks at whether to go on


class SegmentDamaged(Exception):
    """A segment does not hold what its record says."""


class SoundFailed(Exception):
    """The source's sound can be neither copied nor encoded again."""


def join(job: Job, kind: str, look: Callable[[], None]) -> bool:
    """Write `<kind>.mp4` from all complete segments, its index in front, under another name until it is complete.

    `look` is called now and then and may raise. Returns whether all of the sound came along. Raises SegmentDamaged.
    """
    target = job.folder / f"{kind}.mp4"
    draft = target.with_suffix(".part")
    try:
        whole = True
        try:
            _write(job, kind, draft, look, sound=bool(job.source.audio))
        except SoundFailed:
            whole = False
            _write(job, kind, draft, look, sound=False)
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return whole


def _write(job: Job, kind: str, draft: Path, look: Callable[[], None], sound: bool) -> None:
    source, store = job.source, job.store
    options = {"movflags": "+faststart", "video_track_timescale": str(source.clock.denominator)}
    with opened(job.original) as container, av.open(str(draft), "w", format="mp4", options=options) as out:
        with av.open(str(store.video(0, kind))) as first:
            image = out.add_stream_from_template(first.streams.video[0])
        image.time_base = source.clock
        end = store.read(store.count - 1).last_pts + source.step
        streams: list[Iterator[tuple[float, Packet]]] = [images(job, kind, image)]
        if sound:
            audio = container.streams.audio[0]
            begin, until = float(source.origin * source.clock), float(end * source.clock)
            streams.append(sounds(container, audio, out, begin, until))
        for done, (_, packet) in enumerate(heapq.merge(*streams, key=lambda pair: pair[0])):
            if done % LOOK_EVERY == 0:
                look()
            out.mux(packet)


def images(job: Job, kind: str, target: VideoStream) -> Iterator[tuple[float, Packet]]:
    """Packets of all segments with the times their frames had, each lasting until the next one."""
    source, store = job.source, job.store
    waiting: Packet | None = None
    for number in range(store.count):
        times = [row[0] for row in store.read(number).rows]
        seen = 0
        with av.open(str(store.video(number, kind))) as segment:
            for packet in segment.demux(segment.streams.video[0]):
                if packet.size == 0:
                    continue
                if seen == len(times):
                    raise SegmentDamaged(f"Segment {number} has more frames than its record says.")
                packet.stream, packet.time_base = target, source.clock
                packet.pts = packet.dts = times[seen] - source.origin
                seen += 1
                if waiting is not None:
                    waiting.duration = packet.pts - (waiting.pts or 0)
                    yield float((waiting.pts or 0) * source.clock), waiting
                waiting = packet
        if seen != len(times):
            raise SegmentDamaged(f"Segment {number} has {seen} frames, its record says {len(times)}.")
    if waiting is not None:
        at_the_end = (waiting.pts or 0) + source.origin == source.last
        waiting.duration = source.end - source.last if at_the_end else source.step
        yield float((waiting.pts or 0) * source.clock), waiting


def sounds(
    container: InputContainer, audio: AudioStream, out: OutputContainer, begin: float, until: float
) -> Iterator[tuple[float, Packet]]:
    """Packets of the source's sound, `begin` to `until` seconds of its own time, in a codec that browsers play."""
    try:
        if audio.codec_context.name in COPIED_AUDIO:
            return copied(container, audio, out.add_stream_from_template(audio), begin, until)
        rate = min(audio.codec_context.sample_rate, MAX_HERTZ)
        layout = "mono" if audio.codec_context.channels == 1 else "stereo"
        target = out.add_stream("aac", rate=rate, layout=layout)
        return transcoded(container, audio, target, begin, until)
    except (av.error.FFmpegError, ValueError, AttributeError) as error:
        raise SoundFailed(str(error)) from error


def copied(
    container: InputContainer, audio: AudioStream, target: AudioStream, begin: float, until: float
) -> Iterator[tuple[float, Packet]]:
    tick = Fraction(audio.time_base or Fraction(1, MAX_HERTZ))
    shift = round(Fraction(begin) / tick)
    last: int | None = None
    for packet in readable(container, audio):
        if packet.pts is None or packet.size == 0:
            continue
        if packet.pts * tick >= until:
            return
        pts = packet.pts - shift
        if last is not None and pts <= last:
            continue  # the muxer takes rising times only
        last = pts
        packet.stream = target
        packet.pts = packet.dts = pts
        yield float(pts * tick), packet


def transcoded(
    container: InputContainer, audio: AudioStream, target: AudioStream, begin: float, until: float
) -> Iterator[tuple[float, Packet]]:
    coder = target.codec_context
    resampler = AudioResampler(format="fltp", layout=coder.layout.name, rate=coder.sample_rate, frame_size=AAC_FRAME)
    shift = round(begin * coder.sample_rate)
    earliest: int | None = None  # of the next frame, in samples: coarse clocks round two frames into each other

    def encoded(frames: Sequence[AudioFrame | None]) -> Iterator[tuple[float, Packet]]:
        nonlocal earliest
        for frame in frames:
            if frame is not None:
                tick = frame.time_base
                if frame.pts is None or tick is None or float(frame.pts * tick) >= until:
                    continue
                pts = round(frame.pts * tick * coder.sample_rate) - shift
                frame.pts = pts if earliest is None else max(pts, earliest)
                earliest = frame.pts + frame.samples
                frame.time_base = Fraction(1, coder.sample_rate)
            for packet in target.encode(frame):
                yield float((packet.pts or 0) * packet.time_base), packet

    for packet in readable(container, audio):
        try:
            frames = cast(list[AudioFrame], packet.decode())
        except av.error.FFmpegError:
            continue  # a damaged packet is a short silence
        for frame in frames:
            yield from encoded(resampler.resample(frame))
    yield from encoded(resampler.resample(None))
    yield from encoded([None])


def readable(container: InputContainer, audio: AudioStream) -> Iterator[Packet]:
    """The packets of a stream up to the first damage between them."""
    packets = container.demux(audio)
    while True:
        try:
            yield next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
