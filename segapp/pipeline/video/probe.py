"""What a video file holds, counted instead of believed: size, orientation, times, sound."""

import itertools
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from segapp.pipeline.video.demux import InvalidVideo, Limits, Tally, as_yuv420p, decoded, image_stream, opened

FINEST_CLOCK = 1_000_000  # ticks a second; finer clocks and odd ones are replaced by COMMON_CLOCK
COMMON_CLOCK = Fraction(1, 90_000)
MAX_RATE = 240  # frames a second, over the whole video
TRIES = 120  # packets in which a first frame must turn up


@dataclass(frozen=True)
class Source:
    """What the probe found.

    width and height are those of the upright image in pixels; turn is how many quarter turns counter-clockwise
    make the coded image upright, after mirroring it left to right where `mirror`. Times are in ticks of `clock`
    seconds: `first` and `last` are those of the first and last frame, `origin` the earliest of sound and image,
    `end` where the last frame ends. colors are the codec's numbers for matrix, range, primaries and transfer.
    """

    width: int
    height: int
    turn: int
    mirror: bool
    clock: Fraction
    first: int
    last: int
    end: int
    origin: int
    frames: int
    rate: Fraction
    aspect: Fraction
    codec: str
    audio: str
    cut_short: bool
    colors: tuple[int, int, int, int]

    @property
    def seconds(self) -> float:
        return float((self.end - self.first) * self.clock)

    @property
    def coded_size(self) -> tuple[int, int]:
        """Width and height as the file holds them, before turning."""
        return (self.height, self.width) if self.turn % 2 else (self.width, self.height)

    @property
    def step(self) -> int:
        """Ticks of one frame at the nominal rate."""
        return max(1, round(1 / (self.rate * self.clock)))

    def at(self, pts: int) -> float:
        """Seconds since the first frame."""
        return float((pts - self.first) * self.clock)

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "clock": str(self.clock),
            "rate": str(self.rate),
            "aspect": str(self.aspect),
            "colors": list(self.colors),
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "Source":
        values = {key: value for key, value in saved.items() if key != "seconds"}
        fractions = {key: Fraction(values[key]) for key in ("clock", "rate", "aspect")}
        return cls(**{**values, **fractions, "colors": tuple(values["colors"])})


def probe(path: Path, limits: Limits) -> Source:
    """Read every packet's time and decode the first frame; raises InvalidVideo.

    Headers may claim anything, so length and number of frames are counted instead of believed.
    """
    if path.stat().st_size == 0:
        raise InvalidVideo("The file is empty. Upload it again.")
    if path.stat().st_size > limits.bytes:
        raise InvalidVideo(
            f"The file has {path.stat().st_size / 1e6:.0f} MB; the limit is {limits.bytes / 1e6:.0f} MB. "
            "Shorten it or lower its quality."
        )
    with opened(path) as container:
        stream = image_stream(container, limits)
        times = scan(container, stream, limits)
        claimed = stream.duration * stream.time_base if stream.duration and stream.time_base else Fraction(0)
        audio = container.streams.audio[0] if container.streams.audio else None
        sound = audio.codec_context.name if audio and audio.codec_context else ""
        start = sound_start(audio) if audio and sound else None
    with opened(path) as container:
        stream = image_stream(container, limits)
        shown = first_frame(container, stream)
        tags = as_yuv420p(shown)
        turn, mirror = orientation(shown)
        own = Fraction(stream.time_base or COMMON_CLOCK)
        clock = own if own.numerator == 1 and own.denominator <= FINEST_CLOCK else COMMON_CLOCK
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
        name = stream.codec_context.name
    seen = sorted(times)
    first = round(seen[0] * own / clock)
    last = round(seen[-1] * own / clock)
    rate = sensible(rate, len(seen), float((last - first) * clock))
    gap = max(1, round(1 / (rate * clock)))
    longest = max([gap, *(round((b - a) * own / clock) for a, b in itertools.pairwise(seen))])
    end = last + (round(times[seen[-1]] * own / clock) or gap)
    stated = first + round(claimed / clock)
    if last < stated <= last + longest:
        end = stated  # packets are stored in another order than they are shown: only the header knows the end
    across = turn % 2 == 1
    source = Source(
        width=shown.height if across else shown.width,
        height=shown.width if across else shown.height,
        turn=turn,
        mirror=mirror,
        clock=clock,
        first=first,
        last=last,
        end=end,
        origin=first if start is None else min(first, round(start / clock)),
        frames=len(seen),
        rate=rate,
        aspect=1 / aspect if across else aspect,
        codec=name,
        audio=sound,
        colors=(int(tags.colorspace), int(tags.color_range), int(tags.color_primaries), int(tags.color_trc)),
        cut_short=claimed - (end - first) * clock > 1,
    )
    too_long(source.seconds, limits)
    return source


def sound_start(audio: AudioStream) -> Fraction | None:
    """When the sound begins, in seconds; None where the file does not say."""
    return None if audio.start_time is None or audio.time_base is None else audio.start_time * audio.time_base


def too_long(seconds: float, limits: Limits) -> None:
    if seconds > limits.seconds + 1:
        raise InvalidVideo(
            f"The video is {seconds / 60:.1f} minutes long; the limit is {limits.seconds / 60:.0f} minutes. "
            "Cut it and upload the part you need."
        )


def scan(container: InputContainer, stream: VideoStream, limits: Limits) -> dict[int, int]:
    """Time and duration of every image packet in ticks of the stream, nothing decoded."""
    times: dict[int, int] = {}
    tick = float(stream.time_base or COMMON_CLOCK)
    earliest: int | None = None
    try:
        for packet in container.demux(stream):
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None or packet.is_discard or packet.size == 0:
                continue
            earliest = time if earliest is None else min(earliest, time)
            times[time] = packet.duration or 0
            too_long((time - earliest) * tick, limits)
            if len(times) > MAX_RATE * limits.seconds:
                raise InvalidVideo("The video has more frames than can be handled. Lower its frame rate.")
    except av.error.FFmpegError:
        pass  # what was read up to the damage counts
    if not times:
        raise InvalidVideo("This file has no frames. Save or upload it again.")
    return times


def first_frame(container: InputContainer, stream: VideoStream) -> VideoFrame:
    """The first frame that decodes; raises InvalidVideo when none of the first packets gives one."""
    for frame in decoded(container, stream, Tally(), TRIES):
        return frame
    raise InvalidVideo(
        "No frame of this video can be decoded: it is damaged, protected or in an unusual format. "
        "Convert it to H.264 in MP4 and upload it again."
    )


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Quarter turns counter-clockwise, and whether to mirror left to right first, that make the image upright.

    Cameras write a display matrix: x' = a x + c y, y' = b x + d y. Angles between quarter turns do not occur.
    """
    for data in cast(Any, frame.side_data):  # typed as a mapping, iterates over its values
        if data.type.name == "DISPLAYMATRIX":
            (a, b, _), (c, d, _) = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2] / 65536
            mirror = bool(a * d - b * c < 0)
            if mirror:  # matrix = turn after mirror: undo the mirror to read the turn
                a, b = -a, -b
            return round(float(np.degrees(np.arctan2(-b, a))) / 90) % 4, mirror
    return 0, False


def sensible(rate: Fraction, frames: int, seconds: float) -> Fraction:
    """The header's frame rate, or the counted one where the header's is impossible."""
    counted = Fraction(frames - 1) / Fraction(seconds).limit_denominator(10**6) if frames > 1 and seconds > 0 else None
    if counted is not None and not counted / 4 < rate < counted * 4:
        rate = counted
    return min(max(rate, Fraction(1, 60)), Fraction(1000)).limit_denominator(100_000)
