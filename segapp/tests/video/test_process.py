"""Whole videos through the pipeline: what comes out has the source's size, length, times, orientation and sound."""

import csv
from fractions import Fraction

import av
import numpy as np
import pytest

from segapp.imaging.tiling import fitted
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.inference.predict import resized
from segapp.pipeline.inference.upsample import decide
from segapp.pipeline.video.demux import InvalidVideo, Limits
from segapp.pipeline.video.plan import EVERY, Options
from segapp.pipeline.video.process import process, segment_file
from segapp.tests.video.test_frames import bright_corner
from segapp.tests.video.videos import (
    CLASSES,
    EACH,
    bright_network,
    click_seconds,
    corner,
    decoded_frames,
    index_masks,
    moving,
    write_video,
)
from segapp.worker import local


def test_the_result_has_the_sources_size_length_and_times(tmp_path):
    original = write_video(tmp_path / "a.mp4", 64, 48, frames=25, rate=10)
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits())
    assert (done.frames, done.predicted, done.skipped, done.notes) == (25, 25, 0, [])
    for name in ("overlay.mp4", "mask.mp4"):
        path = tmp_path / "job" / name
        times, images = decoded_frames(path)
        assert times == decoded_frames(original)[0]
        assert images[0].shape == (48, 64, 3)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert float(stream.duration * stream.time_base) == pytest.approx(2.5)
            assert stream.average_rate == 10
        content = path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat"), "the index must be in front"


def test_masks_follow_the_image(tmp_path):
    original = write_video(tmp_path / "a.mp4", 64, 48, frames=12, draw=moving(64, 48))
    process(bright_network(), original, tmp_path / "job", EACH, Limits())
    masks = index_masks(tmp_path / "job")
    assert list(masks) == [f"frame_{k:06d}.png" for k in range(12)]
    for k, mask in enumerate(masks.values()):
        truth = np.where(moving(64, 48)(k)[..., 0] > 127, 3, 0)
        assert (mask != truth).mean() < 0.05, k
    drawn = decoded_frames(tmp_path / "job" / "mask.mp4")[1]
    inside = drawn[0][20:28, 4:12].reshape(-1, 3).mean(axis=0)
    assert np.abs(inside - (0xE6, 0x46, 0x50)).max() < 12, "the class's own colour"


def test_the_overlay_keeps_the_image_below(tmp_path):
    original = write_video(tmp_path / "a.mp4", 64, 48, frames=3, draw=corner(64, 48))
    process(bright_network(), original, tmp_path / "job", Options(EVERY, 0, alpha=0), Limits())
    for before, after in zip(
        decoded_frames(original)[1], decoded_frames(tmp_path / "job" / "overlay.mp4")[1], strict=True
    ):
        assert np.abs(before.astype(int) - after).mean() < 3


def test_a_frame_gets_the_mask_that_an_image_gets(tmp_path):
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 255, (9, 12)), np.ones((16, 16))).astype(np.uint8)[..., None].repeat(3, axis=2)
    original = write_video(tmp_path / "a.mp4", 192, 144, frames=2, draw=lambda k: scene, options={"crf": "5"})
    net = bright_network(input_size=96)
    process(net, original, tmp_path / "job", EACH, Limits())
    image = decoded_frames(original)[1][0]
    small = resized(image, fitted(144, 192, 96))
    logits = net.module(normalised(small, net))[0, :, : small.shape[0], : small.shape[1]]
    alone, _ = decide(logits, 144, 192, CLASSES)
    assert (index_masks(tmp_path / "job")["frame_000000.png"] == alone).mean() > 0.97


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_video_comes_out_upright(tmp_path, turn):
    original = write_video(
        tmp_path / "a.mp4", 64, 48, frames=3, draw=corner(64, 48), turn=turn, audio="aac", seconds=0.3
    )
    process(bright_network(), original, tmp_path / "job", EACH, Limits())
    where = {90: ("bottom", "left"), 180: ("bottom", "right"), 270: ("top", "right")}[turn]
    with av.open(str(tmp_path / "job" / "overlay.mp4")) as container:
        frame = next(container.decode(video=0))
    assert frame.rotation == 0, "upright in its pixels, so that no player need turn it"
    image = frame.to_ndarray(format="rgb24")
    assert image.shape[:2] == ((48, 64) if turn == 180 else (64, 48))
    assert bright_corner(image) == where
    assert bright_corner(index_masks(tmp_path / "job")["frame_000000.png"]) == where


def test_a_variable_frame_rate_stays_variable(tmp_path):
    times = [0, 40, 60, 400, 900, 905, 1500, 1700, 2600]
    original = write_video(tmp_path / "a.mp4", frames=8, times=times, clock=Fraction(1, 1000))
    process(bright_network(), original, tmp_path / "job", EACH, Limits())
    seen, _ = decoded_frames(tmp_path / "job" / "overlay.mp4")
    assert [round(1000 * t) for t in seen] == times[:-1]
    with av.open(str(tmp_path / "job" / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(2.6)


@pytest.mark.parametrize("size", [(63, 47), (1, 1), (2, 64), (31, 400)])
def test_odd_and_tiny_sizes(tmp_path, size):
    width, height = size
    original = write_video(tmp_path / "a.mp4", width, height, frames=3, pix_fmt="yuv444p", draw=corner(width, height))
    process(bright_network(), original, tmp_path / "job", EACH, Limits())
    image = decoded_frames(tmp_path / "job" / "overlay.mp4")[1][0]
    assert image.shape[:2] == (height + height % 2, width + width % 2)
    assert next(iter(index_masks(tmp_path / "job").values())).shape == (height, width)


def test_one_frame(tmp_path):
    original = write_video(tmp_path / "a.mp4", frames=1, rate=25)
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits())
    assert done.frames == 1
    with av.open(str(tmp_path / "job" / "overlay.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(0.04, abs=0.005)


@pytest.mark.parametrize(
    ("name", "codec", "audio"),
    [("a.mp4", "libx264", "aac"), ("a.mp4", "libx264", "libmp3lame"), ("a.webm", "libvpx", "libopus"),
     ("a.mov", "libx264", "pcm_s16le"), ("a.mkv", "libx264", "flac")],
)  # fmt: skip
def test_sound_is_kept_in_time(tmp_path, short_segments, name, codec, audio):
    original = write_video(tmp_path / name, frames=24, codec=codec, audio=audio)
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits())
    assert done.notes == []
    for name in ("overlay.mp4", "mask.mp4"):
        path = tmp_path / "job" / name
        with av.open(str(path)) as container:
            assert container.streams.audio[0].codec_context.name in ("aac", "mp3", "mp3float")
            assert container.duration / 1e6 == pytest.approx(2.4, abs=0.1)
        assert click_seconds(path) == pytest.approx(click_seconds(original), abs=0.02)


def test_sampling_predicts_some_frames_and_draws_all(tmp_path):
    original = write_video(tmp_path / "a.mp4", frames=30, rate=10)
    net = bright_network()
    done = process(net, original, tmp_path / "job", Options(per_second=2, damping=0), Limits())
    assert (done.frames, done.predicted) == (30, 6)
    assert net.module.calls == 6 + 2, "and two to measure the pace"
    assert len(decoded_frames(tmp_path / "job" / "overlay.mp4")[0]) == 30
    assert list(index_masks(tmp_path / "job")) == [f"frame_{k:06d}.png" for k in range(0, 30, 5)]


def test_a_scene_cut_is_predicted_whatever_the_sampling(tmp_path):
    def two_scenes(number: int) -> np.ndarray:
        return np.full((48, 64, 3), 20 if number < 7 else 230, np.uint8)

    original = write_video(tmp_path / "a.mp4", frames=20, draw=two_scenes)
    done = process(bright_network(), original, tmp_path / "job", Options(per_second=1, damping=0.7), Limits())
    assert done.predicted == 3
    assert index_masks(tmp_path / "job")["frame_000007.png"].min() == 3


def test_the_table_and_the_timeline_hold_every_frames_shares(tmp_path):
    def filling(number: int) -> np.ndarray:
        image = np.full((48, 64, 3), 20, np.uint8)
        image[:, : 2 * number] = 230
        return image

    original = write_video(tmp_path / "a.mp4", frames=30, draw=filling)
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits())
    with open(tmp_path / "job" / "frames.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(done.timeline) == 30
    for k in (5, 15, 29):
        assert float(table[k]["3 bright %"]) == pytest.approx(100 * 2 * k / 64, abs=3)
        assert done.timeline[k][1]["3"] == pytest.approx(100 * 2 * k / 64, abs=3)
        assert float(table[k]["seconds"]) == done.timeline[k][0] == pytest.approx(k / 10)
    bright = next(c for c in done.classes if c["id"] == 3)
    assert bright["percent"] == pytest.approx(np.mean([100 * 2 * k / 64 for k in range(30)]), abs=2)


def test_the_frame_that_the_network_is_least_sure_of_is_the_most_doubtful_moment(tmp_path):
    def hesitant(number: int) -> np.ndarray:
        image = np.full((48, 64, 3), 20, np.uint8)
        image[:, 32:] = 130 if number == 17 else 230  # hardly brighter than what counts as dark
        return image

    original = write_video(tmp_path / "a.mp4", frames=30, draw=hesitant)
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits())
    seconds, doubt, frame = done.doubtful[0]
    assert (seconds, frame) == (pytest.approx(1.7), 17)
    with open(tmp_path / "job" / "frames.csv", newline="") as file:
        table = [float(row["doubt"]) for row in csv.DictReader(file)]
    assert table[17] == doubt == max(table) > 2 * table[16]


def test_damaged_frames_are_left_out_and_mentioned(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mp4", frames=30, draw=lambda k: noise[k], codec="mpeg4", options={"g": "1"})
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        start, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][12]
    content[start : start + size] = bytes(size)
    path.write_bytes(content)
    done = process(bright_network(), path, tmp_path / "job", EACH, Limits())
    assert (done.frames, done.skipped) == (29, 1)
    assert done.notes == ["1 frame was damaged and left out."]
    times, _ = decoded_frames(tmp_path / "job" / "overlay.mp4")
    assert Fraction(12, 10) not in times
    assert times[-1] == Fraction(29, 10)


# --- the command's verb ---------------------------------------------------------------------------------


def test_segment_file_writes_three_files_and_nothing_else(tmp_path):
    original = write_video(tmp_path / "ride.mp4", frames=12)
    out = tmp_path / "out"
    out.mkdir()
    result = segment_file(bright_network(), original, out)
    assert sorted(path.name for path in out.iterdir()) == ["ride.csv", "ride_mask.mp4", "ride_overlay.mp4"]
    assert result["file"] == str(original)
    assert result["mask"] == str(out / "ride_mask.mp4")
    assert result["frames"] == 12
    assert {c["id"] for c in result["classes"]} == {0, 3}


def test_segment_file_leaves_nothing_when_the_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("#EXTM3U\n")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InvalidVideo):
        segment_file(bright_network(), tmp_path / "a.mp4", out)
    assert list(out.iterdir()) == []


def test_results_beside_a_video_leave_it_alone(tmp_path):
    original = write_video(tmp_path / "ride.mp4", frames=3)
    content = original.read_bytes()
    segment_file(bright_network(), original, tmp_path)
    assert original.read_bytes() == content


@pytest.mark.parametrize(
    ("names", "clash"),
    [(["a.png"], "a.png"), (["a.jpg", "a.webp"], "a.png"), (["a.mp4", "a.mov"], "a_overlay.mp4"),
     (["a_mask.mp4", "a.mp4"], "a_mask.mp4")],
)  # fmt: skip
def test_results_that_would_overwrite_something_are_refused_before_the_work(tmp_path, names, clash):
    with pytest.raises(ValueError, match=clash):
        local.refuse_collisions([tmp_path / name for name in names], tmp_path)
    local.refuse_collisions([tmp_path / "a.mp4", tmp_path / "a.jpg", tmp_path / "b.mp4"], tmp_path)
