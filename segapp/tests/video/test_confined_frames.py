"""A video is decoded in a process of its own, which ends alone and gives what decoding it here would give."""

import signal

import numpy as np
import psutil
import pytest

from segapp.confine import ResourceLimits
from segapp.pipeline.video import confined_frames
from segapp.pipeline.video.confined_frames import TOO_MUCH, FrameProcess
from segapp.pipeline.video.demux import InvalidVideo, Limits, Tally
from segapp.pipeline.video.inputs import Wanted, input_frames
from segapp.pipeline.video.plan import EVERY
from segapp.pipeline.video.probe import probe
from segapp.tests.video.videos import write_video


def wanted(path, per_second: float = EVERY, start: int | None = None) -> Wanted:
    return Wanted(probe(path, Limits()), Limits(), (32, 48), per_second, start)


def given(frames) -> list:
    return [
        (found.frame.pts, found.cut, found.image is None, *(plane.tobytes() for plane in found.frame.planes()))
        for found in frames
    ]


@pytest.mark.parametrize("options", [{}, {"turn": 90}, {"audio": "aac"}])
@pytest.mark.parametrize("per_second", [EVERY, 5.0])
def test_it_gives_what_decoding_in_this_process_gives(tmp_path, options, per_second):
    path = write_video(tmp_path / "a.mp4", 64, 48, frames=12, **options)
    here, apart = Tally(), Tally()
    asked = wanted(path, per_second)
    found = list(FrameProcess().frames(path, asked, apart))
    assert given(found) == given(input_frames(path, asked, here)) and len(found) == 12
    images = [frame.image for frame in input_frames(path, asked, here)]
    assert all((one.image == other).all() for one, other in zip(found, images, strict=True) if other is not None)
    assert apart.skipped == 0


def test_a_later_start_gives_the_rest(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=12)
    times = [frame.frame.pts for frame in FrameProcess().frames(path, wanted(path), Tally())]
    rest = FrameProcess().frames(path, wanted(path, start=times[7]), Tally())
    assert [frame.frame.pts for frame in rest] == times[7:]


def test_a_decoder_that_dies_is_a_refusal_in_plain_words(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=40)
    process = FrameProcess()
    found = process.frames(path, wanted(path), Tally())
    next(found)
    process._process.send_signal(signal.SIGKILL)
    with pytest.raises(InvalidVideo) as refused:
        list(found)
    assert str(refused.value) == TOO_MUCH


@pytest.mark.fault(54)
def test_a_decoder_that_hangs_is_ended(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", frames=40)
    process = FrameProcess()
    found = process.frames(path, wanted(path), Tally())
    next(found)
    process._process.send_signal(signal.SIGSTOP)
    process._socket.settimeout(0.2)
    with pytest.raises(InvalidVideo, match="could not be decoded"):
        list(found)
    assert process._process.returncode == -signal.SIGKILL


def test_a_decoder_that_needs_more_memory_than_it_may_have_is_a_refusal(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", 1920, 1080, frames=5)  # more than fits in what the process has already
    monkeypatch.setattr(confined_frames, "RESOURCES", ResourceLimits(memory=64 << 20))
    with pytest.raises(InvalidVideo, match="could not be decoded"):
        list(FrameProcess().frames(path, wanted(path), Tally()))


def test_what_is_refused_while_decoding_keeps_its_words(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=5)
    asked = wanted(path)
    path.write_text("#EXTM3U\nfile:///etc/hostname\n")
    with pytest.raises(InvalidVideo, match="not an MP4"):
        list(FrameProcess().frames(path, asked, Tally()))


def test_it_sees_no_secrets_and_ends_when_it_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    path = write_video(tmp_path / "a.mp4", frames=40)
    process = FrameProcess()
    found = process.frames(path, wanted(path), Tally())
    assert np.asarray(next(found).image).shape == (32, 48, 3)
    running = psutil.Process(process._process.pid)
    assert "DATABASE_URL" not in running.environ()
    limits = {running.rlimit(psutil.RLIMIT_FSIZE), running.rlimit(psutil.RLIMIT_CORE)}
    assert limits == {(0, 0)}
    found.close()
    assert not running.is_running()
