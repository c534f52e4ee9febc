"""Frames come out upright, in order, at their times, and damage is skipped and counted."""

from fractions import Fraction

import av
import numpy as np
import pytest

from segapp.pipeline.video.demux import Limits, Tally
from segapp.pipeline.video.frames import frames
from segapp.pipeline.video.probe import probe
from segapp.tests.video.videos import corner, write_video


def bright_corner(image: np.ndarray) -> tuple[str, str]:
    """Where the bright quarter of an image (H,W or H,W,3) is."""
    grey = image.mean(axis=2) if image.ndim == 3 else image
    h, w = grey.shape[0] // 2, grey.shape[1] // 2
    quarters = {
        ("top", "left"): grey[:h, :w], ("top", "right"): grey[:h, -w:],
        ("bottom", "left"): grey[-h:, :w], ("bottom", "right"): grey[-h:, -w:],
    }  # fmt: skip
    return max(quarters, key=lambda key: quarters[key].mean())


@pytest.mark.parametrize(
    ("turn", "mirror", "where"),
    [(0, False, ("top", "left")), (90, False, ("bottom", "left")), (180, False, ("bottom", "right")),
     (270, False, ("top", "right")), (0, True, ("top", "right")), (90, True, ("bottom", "right"))],
)  # fmt: skip
def test_rotation_metadata_is_applied(tmp_path, turn, mirror, where):
    """A turn of 90 is counter-clockwise; a mirror comes after it."""
    path = write_video(tmp_path / "a.mp4", 64, 48, frames=2, draw=corner(64, 48), turn=turn, mirror=mirror)
    source = probe(path, Limits())
    (frame, _) = frames(path, source, Limits())
    assert frame.planes()[0].shape == (source.height, source.width)
    assert bright_corner(frame.planes()[0]) == where
    assert bright_corner(frame.rgb(32, 32)) == where


def test_a_player_would_turn_it_the_same_way(tmp_path):
    """The decoder's own reading of the matrix agrees with ours."""
    for turn in (90, 180, 270):
        path = write_video(tmp_path / "a.mp4", 64, 48, frames=1, turn=turn)
        with av.open(str(path)) as container:
            shown = next(container.decode(video=0)).rotation
        assert probe(path, Limits()).turn == (shown // 90) % 4


def test_variable_rate_keeps_its_times(tmp_path):
    times = [0, 100, 150, 900, 2000, 2100]
    path = write_video(tmp_path / "a.mp4", frames=5, times=times, clock=Fraction(1, 1000))
    source = probe(path, Limits())
    assert [round(source.at(f.pts) * 1000) for f in frames(path, source, Limits())] == times[:-1]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_a_later_start_gives_the_same_frames(tmp_path, name):
    codec = "libvpx" if name.endswith("webm") else "libx264"
    path = write_video(tmp_path / name, frames=40, codec=codec, options={"g": "12"})
    source = probe(path, Limits())
    whole = [(f.pts, f.planes()[0].copy()) for f in frames(path, source, Limits())]
    assert len(whole) == 40
    for k in (1, 11, 12, 13, 30, 39):
        rest = [(f.pts, f.planes()[0].copy()) for f in frames(path, source, Limits(), start=whole[k - 1][0] + 1)]
        assert [pts for pts, _ in rest] == [pts for pts, _ in whole[k:]]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(rest, whole[k:], strict=True))


def test_damaged_frames_are_skipped_and_counted(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mp4", frames=30, draw=lambda k: noise[k], codec="mpeg4", options={"g": "1"})
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for k in (10, 20):
        start, size = packets[k]
        content[start : start + size] = bytes(size)
    path.write_bytes(content)
    source, tally = probe(path, Limits()), Tally()
    seen = [f.pts for f in frames(path, source, Limits(), tally=tally)]
    assert tally.skipped == 2
    assert len(seen) == 28
    assert seen == sorted(set(seen))


def test_frames_that_change_size_meanwhile_come_out_at_the_first_size(tmp_path):
    """VP8 may change its size in the middle of a stream."""
    parts = [write_video(tmp_path / f"{w}.webm", w, h, frames=5, codec="libvpx") for w, h in ((64, 48), (96, 80))]
    path = tmp_path / "both.webm"
    with av.open(str(path), "w") as out:
        target, shift = None, 0
        for part in parts:
            with av.open(str(part)) as container:
                target = target or out.add_stream_from_template(container.streams.video[0])
                for packet in container.demux(video=0):
                    if packet.size:
                        packet.stream = target
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        out.mux(packet)
            shift += 500
    source = probe(path, Limits())
    shapes = [f.planes()[0].shape for f in frames(path, source, Limits())]
    assert shapes == [(48, 64)] * 10


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [("libx264", "yuv444p"), ("libx264", "yuv420p10le"), ("libx264", "yuvj420p"), ("libx264rgb", "rgb24")],
)
def test_colours_survive_every_pixel_format(tmp_path, codec, pix_fmt):
    red = np.zeros((48, 64, 3), np.uint8)
    red[:] = (200, 60, 30)
    path = write_video(tmp_path / "a.mp4", frames=2, draw=lambda k: red, codec=codec, pix_fmt=pix_fmt)
    frame = next(iter(frames(path, probe(path, Limits()), Limits())))
    assert frame.raw.format.name in ("yuv420p", "yuvj420p")
    assert np.abs(frame.rgb(48, 64).reshape(-1, 3).mean(axis=0) - red[0, 0]).max() < 8
