"""Videos made on the spot, and a network whose answer can be checked by eye: class 1 is what is bright."""

import io
import zipfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from PIL import Image
from torch import Tensor, nn

from registry.network import ClassInfo, Spec
from registry.runtime import LoadedNetwork
from segapp.pipeline.video.plan import EVERY, Options

CLASSES = (ClassInfo(0, "background", "#202830"), ClassInfo(3, "bright", "#e64650"))
EACH = Options(per_second=EVERY, damping=0)
FrameSource = Callable[[int], np.ndarray]


def corner(width: int, height: int) -> FrameSource:
    """Dark, with the upper left quarter bright: shows which way is up."""
    image = np.full((height, width, 3), 20, np.uint8)
    image[: (height + 1) // 2, : (width + 1) // 2] = 230
    return lambda number: image


def moving(width: int, height: int) -> FrameSource:
    """A bright square that goes right by two pixels a frame and comes back."""

    def draw(number: int) -> np.ndarray:
        image = np.full((height, width, 3), 20, np.uint8)
        side = max(2, height // 3)
        left = (2 * number) % max(1, width - side)
        image[side : 2 * side, left : left + side] = 230
        return image

    return draw


def write_video(
    path: Path,
    width: int = 64,
    height: int = 48,
    frames: int = 20,
    rate: int = 10,
    draw: FrameSource | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    clock: Fraction | None = None,
    turn: int | None = None,
    mirror: bool = False,
    audio: str = "",
    seconds: float | None = None,
    options: dict[str, str] | None = None,
    movflags: str = "",
) -> Path:
    """A video of `draw(number)` images. times: in ticks of `clock`, one more than frames (the end of the last)."""
    if times is not None:
        options = {"bf": "0", **(options or {})}  # with B frames the muxer loses how long the last one lasts
    draw = draw or moving(width, height)
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as out:
        stream: Any = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if clock is not None:
            stream.codec_context.time_base = clock
        if turn is not None:
            stream.set_display_rotation(turn, hflip=mirror)
        sound: Any = out.add_stream(audio, rate=48000, layout="mono") if audio else None
        for number in range(frames):
            frame = VideoFrame.from_ndarray(draw(number), "rgb24").reformat(format=pix_fmt)
            frame.pts = number if times is None else times[number]
            frame.time_base = clock or Fraction(1, rate)
            out.mux(lasting(stream.encode(frame), times))
        if sound is not None:
            write_tone(out, sound, frames / rate if seconds is None else seconds)
        out.mux(lasting(stream.encode(None), times))
        if sound is not None:
            out.mux(sound.encode(None))
    return path


def lasting(packets: list, times: Sequence[int] | None) -> list:
    """Encoders give every packet the nominal duration; here each lasts until the next one."""
    if times is not None:
        for packet in packets:
            packet.duration = times[times.index(packet.pts) + 1] - packet.pts
    return packets


def write_tone(out, sound, seconds: float) -> None:
    """Silence with a click in its middle, so that a shift of the sound can be measured."""
    samples = np.zeros((1, int(48000 * seconds)), np.float32)
    samples[0, samples.shape[1] // 2 : samples.shape[1] // 2 + 200] = 0.8
    form = sound.codec_context.format.name
    size = sound.codec_context.frame_size or 960
    for start in range(0, samples.shape[1], size):
        part = samples[:, start : start + size]
        if form.startswith("s16"):
            part = (part * 32000).astype(np.int16)
        elif form.startswith("s32"):
            part = (part * 2e9).astype(np.int32)
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(part), form, "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        out.mux(sound.encode(frame))


class Bright(nn.Module):
    """Logits N,2,H,W that say class 1 where a normalised image is brighter than grey."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        grey = images.mean(dim=1, keepdim=True) * 4
        return torch.cat([-grey, grey], dim=1)


def bright_network(input_size: int = 64, key: str = "user_" + "a" * 32) -> LoadedNetwork:
    spec = Spec("mit_b0", "mit_b0", {}, input_size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), CLASSES)
    return LoadedNetwork(key, "0" * 64, "mit_b0", spec, Bright(), torch.device("cpu"))


def decoded_frames(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    """Times in seconds and RGB images of every frame, any damage an error."""
    with av.open(str(path)) as container:
        found = [
            (frame.pts * frame.time_base, frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
            if frame.pts is not None and frame.time_base is not None
        ]
    return [time for time, _ in found], [image for _, image in found]


def click_seconds(path: Path) -> float:
    """When the click of `write_tone` is heard, on the clock of the first frame."""
    with av.open(str(path)) as container:
        streams: list[Any] = list(container.streams)
        start = min(float(s.start_time * s.time_base) for s in streams if s.start_time is not None)
        frame: Any
        for frame in container.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray().astype(np.float32)).max(axis=0) > 0.3)
            if len(loud):
                return float(frame.pts * frame.time_base) + int(loud[0]) / frame.sample_rate - start
    raise AssertionError("no click")


def index_masks(folder: Path) -> dict[str, np.ndarray]:
    """The masks of a job's predicted frames by file name, as class ids."""
    found = {}
    for part in sorted((folder / "parts").glob("*.zip")):
        with zipfile.ZipFile(part) as archive:
            for name in archive.namelist():
                image = Image.open(io.BytesIO(archive.read(name)))
                assert image.mode == "P"
                found[name] = np.asarray(image)
    return found
