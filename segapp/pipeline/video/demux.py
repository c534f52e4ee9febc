"""Opening and decoding an untrusted video file.

A file is opened by the demuxer that its own first bytes name, with the `file` protocol alone, so that nothing in it
can make another file or an address be read. Knows nothing of networks, masks or rows.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from segapp.imaging import container as containers
from segapp.imaging import formats

DECODE_THREADS = 2
NOT_SHOWN = Disposition.attached_pic | Disposition.timed_thumbnails  # covers and previews


class InvalidVideo(Exception):
    """The file is refused; the message says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What is taken at most: bytes on disk, seconds, pixels of one frame."""

    bytes: int = 200 * 10**6
    seconds: float = 600
    pixels: int = 3840 * 2160


@dataclass
class Tally:
    """What could not be used while decoding."""

    skipped: int = 0


def import_all_parts() -> None:
    """Import all of PyAV, for a process that forbids itself its files: parts of it are imported only when needed."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name != "av.__main__":
            importlib.import_module(module.name)


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The file's demuxer. Raises InvalidVideo for what is no accepted container, and MemoryError."""
    with open(path, "rb") as file:
        family = containers.family(file.read(containers.HEAD))
    if family is None:
        raise InvalidVideo(
            f"This is not an {formats.listed(formats.VIDEO_KINDS)} file. Convert it to MP4 and upload it again."
        )
    try:
        # "file:" in front keeps a name like "http:x" or "concat:x" from being read as a protocol.
        found = av.open(
            f"file:{path.resolve()}",
            format=family,
            options={"protocol_whitelist": "file", "enable_drefs": "0", "use_absolute_path": "0"}
            if family == containers.ISO_MEDIA
            else {"protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except MemoryError:  # one of FFmpeg's errors, too, but no damage
        raise
    except (av.error.FFmpegError, ValueError) as error:
        raise InvalidVideo(
            "The file is broken or incomplete: its index cannot be read. Save or upload it again."
        ) from error
    try:
        yield found
    finally:
        found.close()


def image_stream(container: InputContainer, limits: Limits) -> VideoStream:
    """The stream to segment, its decoder held to the limit of pixels.

    Of several it is the one that players show: marked as default, then the largest, then the first.
    """
    streams = [s for s in container.streams.video if not s.disposition & NOT_SHOWN]
    if not streams:
        raise InvalidVideo("This file has only sound, no images. Upload a video.")
    stream = max(streams, key=_rank)
    coder = stream.codec_context
    if coder is None:
        raise InvalidVideo("The video's codec is not known here. Convert it to H.264 in MP4 and upload it again.")
    if coder.width * coder.height > limits.pixels:
        raise InvalidVideo(
            f"The video is {coder.width} x {coder.height}; the limit is {limits.pixels / 1e6:.1f} megapixels a frame. "
            "Scale it down and upload it again."
        )
    coder.options = {"max_pixels": str(max(limits.pixels, 4096))}  # holds for frames that grow later, too
    coder.thread_count = DECODE_THREADS
    stream.thread_type = "AUTO"
    return stream


def _rank(stream: VideoStream) -> tuple[bool, bool, int]:
    coder = stream.codec_context
    known = coder is not None  # its codec can be decoded here
    return known, bool(stream.disposition & Disposition.default), coder.width * coder.height if known else 0


def decoded(container: InputContainer, stream: VideoStream, tally: Tally, packets: int = 0) -> Iterator[VideoFrame]:
    """Frames in the order they are shown; damaged ones are counted and left out. `packets`: stop after so many.

    Raises MemoryError: frames for which there was no memory are not damaged.
    """
    source = container.demux(stream)
    seen = 0
    while True:
        try:
            packet = next(source)
        except StopIteration:
            return
        except MemoryError:
            raise
        except av.error.FFmpegError:
            return  # damage between packets: nothing behind it can be found
        try:
            for frame in packet.decode():
                if frame.is_corrupt:
                    tally.skipped += 1
                else:
                    yield frame
        except MemoryError:
            raise
        except av.error.FFmpegError:
            tally.skipped += 1
        seen += 1
        if packets and seen >= packets:
            return


def as_yuv420p(raw: VideoFrame, width: int = 0, height: int = 0) -> VideoFrame:
    """The frame as 8-bit yuv420p, at another size where one is given; its range and matrix stay as they are."""
    size = (width or raw.width, height or raw.height)
    if raw.format.name in ("yuv420p", "yuvj420p") and (raw.width, raw.height) == size:
        return raw
    made = {} if not raw.format.is_rgb else {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG}
    return raw.reformat(width=size[0], height=size[1], format="yuv420p", threads=1, **made)
