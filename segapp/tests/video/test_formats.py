"""Videos as people have them, through the real intake: upload, queue, worker, result."""

from collections.abc import Callable
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import VideoFrame
from django.core.files.uploadedfile import SimpleUploadedFile

from segapp.models import State, VideoJob
from segapp.services import videos
from segapp.tests.video.videos import (
    bright_network,
    click_seconds,
    corner,
    decoded_frames,
    index_masks,
    moving,
    write_tone,
    write_video,
)
from segapp.worker import networks, video

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def home(settings, tmp_path, monkeypatch):
    settings.MEDIA_ROOT = tmp_path / "media"

    @contextmanager
    def pinned(work):
        yield bright_network(key="mit_b0")

    monkeypatch.setattr(networks, "pinned", pinned)


def segmented(path: Path, name: str = "video") -> VideoJob:
    """The ended job of a file that was uploaded under `name`."""
    job = videos.submit("alice", SimpleUploadedFile(name, path.read_bytes()), name, videos.EVERY)
    video.run(job.pk)
    job = VideoJob.objects.get(pk=job.pk)
    assert job.state == State.DONE, job.message
    assert not job.frames_skipped
    return job


def size(job: VideoJob) -> tuple[int, int]:
    return job.source["width"], job.source["height"]


def remuxed(path: Path, parts: list[Path], change: Callable[[Any, list], None], **options: str) -> Path:
    """The video streams of `parts` side by side in one file, no packet encoded again."""
    with av.open(str(path), "w", options=options) as out:
        opened = [av.open(str(part)) for part in parts]
        targets = [out.add_stream_from_template(one.streams.video[0]) for one in opened]
        change(out, targets)
        for one, target in zip(opened, targets, strict=True):
            for packet in one.demux(video=0):
                if packet.size:
                    packet.stream = target
                    out.mux(packet)
            one.close()
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("default", [0, 1])
def test_of_two_tracks_the_default_one_is_taken(tmp_path, name, default):
    parts = [
        write_video(tmp_path / "small.mp4", 320, 180, frames=5),
        write_video(tmp_path / "large.mp4", 480, 270, frames=7),
    ]

    def mark(out, targets) -> None:
        for number, target in enumerate(targets):
            target.disposition = Disposition.default if number == default else Disposition(0)

    job = segmented(remuxed(tmp_path / name, parts, mark))
    assert (size(job), job.frames) == [((320, 180), 5), ((480, 270), 7)][default]


def test_of_two_tracks_that_are_both_marked_the_largest_is_taken(tmp_path):
    parts = [write_video(tmp_path / f"{side}.mp4", 2 * side, side, frames=4) for side in (90, 180, 120)]

    def mark(out, targets) -> None:
        for target in targets:
            target.disposition = Disposition.default

    assert size(segmented(remuxed(tmp_path / "a.mkv", parts, mark))) == (360, 180)


def test_a_display_matrix_of_90_degrees_turns_the_result(tmp_path):
    job = segmented(write_video(tmp_path / "a.mp4", 64, 48, frames=3, draw=corner(64, 48), turn=90))
    assert size(job) == (48, 64)
    mask = index_masks(job.folder)["frame_000000.png"]
    assert mask.shape == (64, 48)
    assert mask[40:, :20].min() == 3 and mask[:24].max() == 0


def test_frames_that_an_edit_list_hides_stay_hidden(tmp_path):
    plain = write_video(tmp_path / "plain.mp4", 64, 48, frames=30, draw=moving(64, 48), options={"bf": "0"})
    path, hidden = tmp_path / "edited.mp4", 7
    with av.open(str(plain)) as one, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as out:
        target = out.add_stream_from_template(one.streams.video[0])
        for packet in one.demux(video=0):
            if packet.size:
                shift = round(hidden / 10 / packet.time_base)
                packet.stream, packet.pts, packet.dts = target, packet.pts - shift, packet.dts - shift
                out.mux(packet)
    job = segmented(path)
    assert job.frames == 30 - hidden
    first = index_masks(job.folder)["frame_000000.png"]
    assert (first != np.where(moving(64, 48)(hidden)[..., 0] > 127, 3, 0)).mean() < 0.05


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_start_at_eight_seconds_is_the_start_of_the_result(tmp_path, name):
    times = [8300 + 100 * k for k in range(13)]
    job = segmented(write_video(tmp_path / name, frames=12, times=times, clock=Fraction(1, 1000)))
    assert (job.frames, job.source["seconds"]) == (12, pytest.approx(1.2, abs=0.02))
    seen = decoded_frames(videos.file_of(job, "overlay.mp4"))[0]
    assert [float(time) for time in seen] == pytest.approx([0.1 * k for k in range(12)], abs=0.002)


def test_hevc_of_ten_bits(tmp_path):
    path = write_video(tmp_path / "a.mp4", 64, 64, frames=6, codec="libx265", pix_fmt="yuv420p10le")
    job = segmented(path)
    assert (job.source["codec"], job.frames) == ("hevc", 6)
    mask = index_masks(job.folder)["frame_000002.png"]
    assert (mask != np.where(moving(64, 64)(2)[..., 0] > 127, 3, 0)).mean() < 0.05


def test_odd_sizes_in_444(tmp_path):
    job = segmented(write_video(tmp_path / "a.mp4", 63, 47, frames=3, pix_fmt="yuv444p"))
    assert size(job) == (63, 47)
    assert index_masks(job.folder)["frame_000000.png"].shape == (47, 63)


@pytest.mark.parametrize("name", ["a.mov", "a.mkv", "a.avi"])
def test_one_frame_of_mjpeg(tmp_path, name):
    job = segmented(write_video(tmp_path / name, 64, 48, frames=1, rate=25, codec="mjpeg", pix_fmt="yuvj420p"))
    assert (job.frames, size(job)) == (1, (64, 48))


def test_a_recorders_webm_without_a_duration_whose_size_changes(tmp_path):
    parts = [write_video(tmp_path / f"{w}.webm", w, h, frames=5, codec="libvpx") for w, h in ((64, 48), (96, 80))]
    path, shift, target = tmp_path / "recorded.webm", 0, None
    with av.open(str(path), "w", options={"live": "1"}) as out:
        for part in parts:
            with av.open(str(part)) as one:
                target = target or out.add_stream_from_template(one.streams.video[0])
                for packet in one.demux(video=0):
                    if packet.size:
                        packet.stream = target
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        out.mux(packet)
            shift += 500
    with av.open(str(path)) as recorded:
        assert recorded.duration is None, "as a browser's recorder leaves it"
    job = segmented(path)
    assert (job.frames, size(job)) == (10, (64, 48))
    assert job.source["seconds"] == pytest.approx(1.0, abs=0.11)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_before_the_first_frame_stays_in_time(tmp_path, name):
    path, late = tmp_path / name, 8  # frames of a tenth of a second
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound: Any = out.add_stream("aac", rate=48000, layout="mono")
        write_tone(out, sound, 2.4)
        for number in range(16):
            frame = VideoFrame.from_ndarray(moving(64, 48)(number), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number + late, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        out.mux(sound.encode(None))
    job = segmented(path)
    result = videos.file_of(job, "overlay.mp4")
    assert job.frames == 16
    assert click_seconds(result) == pytest.approx(click_seconds(path), abs=0.03)
    assert float(decoded_frames(result)[0][0]) == pytest.approx(late / 10, abs=0.03)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "mjpeg"])
@pytest.mark.parametrize(
    "audio", ["libmp3lame", *(pytest.param(name, marks=pytest.mark.slow) for name in ("", "pcm_s16le"))]
)
def test_an_avi_is_read_whatever_it_is_called(tmp_path, codec, audio):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    options = {} if codec == "mjpeg" else {"bf": "2"}
    path = write_video(tmp_path / "a.avi", frames=20, codec=codec, pix_fmt=pix_fmt, audio=audio, options=options)
    job = segmented(path, "holiday.mp4")
    assert videos.original(job).name == "original.avi"
    assert (job.frames, job.source["seconds"]) == (20, pytest.approx(2.0, abs=0.11))
    assert bool(job.source["audio"]) == bool(audio)
    masks = index_masks(job.folder)
    for number in (0, 7, 19):
        truth = np.where(moving(64, 48)(number)[..., 0] > 127, 3, 0)
        assert (masks[f"frame_{number:06d}.png"] != truth).mean() < 0.08, number
