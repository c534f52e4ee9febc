"""From segments to one video that plays in a browser: no encoding, the source's times, the source's sound."""

import heapq
import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import av
import av.error
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from segapp.pipeline.video.confined_sound import SoundFailed, SoundProcess
from segapp.pipeline.video.job import Job
from segapp.pipeline.video.sound import Track

logger = logging.getLogger(__name__)

LOOK_EVERY = 200  # packets between two looks at whether to go on


class SegmentDamaged(Exception):
    """A segment does not hold what its record says."""


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
        except SoundFailed as failed:
            logger.warning("%s: the sound could not be copied: %s", target, failed)
            whole = False
            _write(job, kind, draft, look, sound=False)
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return whole


def _write(job: Job, kind: str, draft: Path, look: Callable[[], None], sound: bool) -> None:
    """Raises SoundFailed where there is sound that does not come, or that the muxer does not take."""
    if not sound:
        _mux(job, kind, draft, look, None)
        return
    with closing(SoundProcess(look)) as process:
        try:
            _mux(job, kind, draft, look, process)
        except (av.error.InvalidDataError, av.error.ArgumentError) as error:
            raise SoundFailed(str(error)) from error


def _mux(job: Job, kind: str, draft: Path, look: Callable[[], None], sound: SoundProcess | None) -> None:
    source, store = job.source, job.store
    options = {"movflags": "+faststart", "video_track_timescale": str(source.clock.denominator)}
    with av.open(str(draft), "w", format="mp4", options=options) as out:
        with av.open(str(store.video(0, kind))) as first:
            image = out.add_stream_from_template(first.streams.video[0])
        image.time_base = source.clock
        end = store.read(store.count - 1).last_pts + source.step
        streams: list[Iterator[tuple[float, Packet]]] = [images(job, kind, image)]
        if sound is not None:
            begin, until = float(source.origin * source.clock), float(end * source.clock)
            track = sound.track(job.original, begin, until)
            streams.append(sounds(sound, track, sound_stream(out, track)))
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


def sounds(sound: SoundProcess, track: Track, target: AudioStream) -> Iterator[tuple[float, Packet]]:
    """The packets that a process sends, with their times in seconds. Raises SoundFailed."""
    for sent in sound.packets(track):
        packet = Packet(len(sent.data))
        packet.update(sent.data)
        packet.stream, packet.time_base = target, track.tick
        packet.pts = packet.dts = sent.pts
        packet.duration, packet.is_keyframe = sent.duration, True
        yield float(sent.pts * track.tick), packet


def sound_stream(out: OutputContainer, track: Track) -> AudioStream:
    """A stream for AAC packets, made of a few numbers: nothing is opened that would read them."""
    with av.open(io.BytesIO(), "w", format="mp4") as other:  # a stream made from one of its own opens no encoder
        target = out.add_stream_from_template(other.add_stream("aac", rate=track.rate))
    target.time_base = track.tick
    coder = target.codec_context
    coder.layout = f"{track.channels} channels"
    coder.bit_rate = track.bit_rate
    coder.extradata = track.extradata or None
    return target
