"""What a video costs beyond the bare forward pass: the pipeline's frames per second as a ratio of the network's.

Both are measured alternately in the same run, the bare pass before and after each run of the pipeline, and the median
of the ratios counts, so that another load on the machine does not decide it.
"""

import statistics
import tempfile
import time
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.frame import VideoFrame

from registry.runtime import LoadedNetwork
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.video.demux import Limits
from segapp.pipeline.video.frames import frames
from segapp.pipeline.video.job import Report, Verdict
from segapp.pipeline.video.plan import EVERY, Options
from segapp.pipeline.video.probe import probe
from segapp.pipeline.video.process import process
from segapp.pipeline.video.segmenter import GPU_BATCH, Segmenter

TARGET = 0.8
FRAMES = 120
ROUNDS = 5
SIZE = (1280, 720)
LIMITS = Limits(bytes=1 << 40, seconds=6 * 3600)


def bench(net: LoadedNetwork, videos: list[Path], most: int = FRAMES, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """One row a video (without videos: a drawn one): bare and whole frames per second, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        videos = videos or [drawn(Path(folder) / "drawn.mp4", most)]
        return [row(net, video, Path(folder) / str(number), most, rounds) for number, video in enumerate(videos)]


def row(net: LoadedNetwork, video: Path, folder: Path, most: int, rounds: int) -> dict[str, Any]:
    """Figures of one video; `rates` holds, a round each, bare before, whole, bare after in frames per second."""
    source = probe(video, LIMITS)
    count = min(most, source.frames)
    batches = prepared(net, video, count)
    rates = []
    for number in range(rounds):
        before = bare(net, batches)
        rate = whole(net, video, folder / str(number), count)
        rates.append((before, rate, bare(net, batches)))
    return {
        "clip": video.name,
        "size": f"{source.width}x{source.height}",
        "frames": count,
        "model": net.key,
        "device": str(net.device),
        "rates": [[round(rate, 2) for rate in measured] for measured in rates],
        "bare_fps": round(statistics.median((before + after) / 2 for before, _, after in rates), 2),
        "fps": round(statistics.median(rate for _, rate, _ in rates), 2),
        "ratio": round(statistics.median(2 * rate / (before + after) for before, rate, after in rates), 5),
        "target": TARGET,
    }


def whole(net: LoadedNetwork, video: Path, folder: Path, count: int) -> float:
    """Frames per second of everything, from probing the file to the finished result videos."""

    def enough(report: Report) -> Verdict:
        return Verdict.KEEP if report.frames >= count else Verdict.GO

    started = time.perf_counter()
    done = process(net, video, folder, Options(per_second=EVERY), LIMITS, enough)
    return done.frames / (time.perf_counter() - started)


def prepared(net: LoadedNetwork, video: Path, count: int) -> list[torch.Tensor]:
    """The first frames as the network takes them, in the batches that the pipeline would make; a few stand for all."""
    source = probe(video, LIMITS)
    with closing(Segmenter(net, source.height, source.width, 0)) as segmenter:
        shape, size = segmenter.size, segmenter.batch
    images = []
    for frame in frames(video, source, LIMITS):
        images.append(normalised(frame.rgb(*shape), net))
        if len(images) == min(count, 2 * GPU_BATCH):
            break
    batches = [torch.cat(images[k : k + size]) for k in range(0, len(images), size)]
    return [batches[k % len(batches)] for k in range(max(1, count // size))]


def bare(net: LoadedNetwork, batches: list[torch.Tensor]) -> float:
    """Frames per second of the network alone."""
    with torch.inference_mode():
        net.module(batches[0])
        synchronize(net)
        started = time.perf_counter()
        for batch in batches:
            net.module(batch)
        synchronize(net)
    return sum(len(batch) for batch in batches) / (time.perf_counter() - started)


def synchronize(net: LoadedNetwork) -> None:
    if net.device.type == "cuda":
        torch.cuda.synchronize(net.device)


def drawn(path: Path, count: int) -> Path:
    """A video of shapes that move over a textured background, where none is given."""
    rng = np.random.default_rng(0)
    width, height = SIZE
    ground = np.kron(rng.integers(40, 200, (height // 16, width // 16, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(count):
            image = np.roll(ground, 2 * number, axis=1)
            left = (9 * number) % (width - 200)
            image[250:450, left : left + 200] = (220, 60, 40)
            frame = VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
