"""The sound of a video as AAC packets: copied where it is AAC, else decoded and encoded again.

Knows nothing of processes, images or rows.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av.error
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.codec import CodecContext
from av.container import InputContainer
from av.packet import Packet

AAC_FRAME = 1024
MAX_HERTZ = 48_000


@dataclass(frozen=True)
class Track:
    """What a muxer needs to know of AAC: samples a second, channels, seconds of a tick, bits a second as stated (0: not
    known), and AAC's own description of itself (AudioSpecificConfig; may be empty)."""

    rate: int
    channels: int
    tick: Fraction
    bit_rate: int
    extradata: bytes


@dataclass(frozen=True)
class SoundPacket:
    """One AAC frame; pts and duration in ticks of its track, counted from where the sound was asked to begin."""

    pts: int
    duration: int
    data: bytes


def sound_of(container: InputContainer, begin: float, until: float) -> tuple[Track, Iterator[SoundPacket]]:
    """The first sound of a file from `begin` to `until`, in seconds of the file's own time; times rise strictly.

    Raises av.error.FFmpegError, ValueError, AttributeError or IndexError for what cannot be used, MemoryError, and the
    same while packets are taken.
    """
    audio = container.streams.audio[0]
    if audio.codec_context.name == "aac":
        return copied(container, audio, begin, until)
    return transcoded(container, audio, begin, until)


def copied(
    container: InputContainer, audio: AudioStream, begin: float, until: float
) -> tuple[Track, Iterator[SoundPacket]]:
    coder = audio.codec_context
    tick = Fraction(audio.time_base or Fraction(1, MAX_HERTZ))
    extradata = coder.extradata or b""
    first, packets = peeked(within(readable(container, audio), tick, begin, until))
    if first is not None and has_header(bytes(first)):
        first, packets = peeked(without_headers(packets, audio))
        if first is not None and first.has_sidedata("new_extradata"):
            extradata = bytes(first.get_sidedata("new_extradata"))
    track = Track(coder.sample_rate, coder.channels, tick, coder.bit_rate or 0, extradata)
    return track, (SoundPacket(packet.pts or 0, packet.duration or 0, bytes(packet)) for packet in packets)


def within(packets: Iterator[Packet], tick: Fraction, begin: float, until: float) -> Iterator[Packet]:
    """Packets before `until`, with times that are counted from `begin`."""
    shift = round(Fraction(begin) / tick)
    last: int | None = None
    for packet in packets:
        if packet.pts is None or packet.size == 0:
            continue
        if packet.pts * tick >= until:
            return
        pts = packet.pts - shift
        if last is not None and pts <= last:
            continue  # a muxer takes rising times only
        last = pts
        packet.pts = packet.dts = pts
        yield packet


def peeked(packets: Iterator[Packet]) -> tuple[Packet | None, Iterator[Packet]]:
    """The first packet, and all of them."""
    first = next(packets, None)
    return first, packets if first is None else itertools.chain([first], packets)


def has_header(data: bytes) -> bool:
    """Whether AAC has a header of its own before its frame (ADTS), which MP4 has no place for."""
    return data[:1] == b"\xff" and data[1:2] >= b"\xf0"


def without_headers(packets: Iterator[Packet], audio: AudioStream) -> Iterator[Packet]:
    """Packets without their ADTS headers; the first one has what they said as `new_extradata`."""
    cut = BitStreamFilterContext("aac_adtstoasc", in_stream=audio)
    for packet in packets:
        try:
            yield from cut.filter(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            continue  # a damaged packet is a short silence


def transcoded(
    container: InputContainer, audio: AudioStream, begin: float, until: float
) -> tuple[Track, Iterator[SoundPacket]]:
    rate = min(audio.codec_context.sample_rate, MAX_HERTZ)
    coder = CodecContext.create("aac", "w")
    coder.sample_rate = rate
    coder.layout = "mono" if audio.codec_context.channels == 1 else "stereo"
    coder.format = "fltp"
    coder.time_base = Fraction(1, rate)
    coder.bit_rate = 0  # the encoder's own choice for this many channels and samples
    coder.open()
    track = Track(rate, coder.channels, Fraction(1, rate), coder.bit_rate or 0, coder.extradata or b"")
    return track, encoded(container, audio, coder, begin, until)


def encoded(
    container: InputContainer, audio: AudioStream, coder: AudioCodecContext, begin: float, until: float
) -> Iterator[SoundPacket]:
    resampler = AudioResampler(format="fltp", layout=coder.layout.name, rate=coder.sample_rate, frame_size=AAC_FRAME)
    shift = round(begin * coder.sample_rate)
    earliest: int | None = None  # of the next frame, in samples: coarse clocks round two frames into each other

    def added(frames: Sequence[AudioFrame | None]) -> Iterator[SoundPacket]:
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
            for packet in coder.encode(frame):
                yield SoundPacket(packet.pts or 0, packet.duration or 0, bytes(packet))

    for packet in readable(container, audio):
        try:
            frames = cast(list[AudioFrame], packet.decode())
        except MemoryError:
            raise
        except av.error.FFmpegError:
            continue  # a damaged packet is a short silence
        for frame in frames:
            yield from added(resampler.resample(frame))
    yield from added(resampler.resample(None))
    yield from added([None])


def readable(container: InputContainer, audio: AudioStream) -> Iterator[Packet]:
    """The packets of a stream up to the first damage between them. Raises MemoryError."""
    packets = container.demux(audio)
    while True:
        try:
            yield next(packets)
        except MemoryError:  # one of FFmpeg's errors, too, but no damage
            raise
        except (StopIteration, av.error.FFmpegError):
            return
