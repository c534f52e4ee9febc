"""What a file must be to be taken, and what the probe says of it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from segapp.imaging import container
from segapp.pipeline.video.demux import InvalidVideo, Limits
from segapp.pipeline.video.probe import Source, probe
from segapp.tests.video.transcode import in_child
from segapp.tests.video.videos import write_video

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"


def refused(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(InvalidVideo) as error:
        probe(path, limits or Limits())
    return str(error.value)


def test_counts_frames_and_seconds(tmp_path):
    source = probe(write_video(tmp_path / "a.mp4", 64, 48, frames=25, rate=10), Limits())
    assert (source.width, source.height, source.frames, source.codec, source.audio) == (64, 48, 25, "h264", "")
    assert source.seconds == pytest.approx(2.5)
    assert source.rate == 10
    assert not source.cut_short


def test_survives_a_round_through_json(tmp_path):
    import json

    source = probe(write_video(tmp_path / "a.mp4"), Limits())
    assert Source.from_dict(json.loads(json.dumps(source.to_dict()))) == source


@pytest.mark.parametrize(
    ("name", "codec", "audio"),
    [("a.mov", "libx264", ""), ("a.mkv", "libx265", ""), ("a.webm", "libvpx", "libopus"), ("b.webm", "libvpx-vp9", ""),
     ("d.mp4", "mpeg4", "aac")],
)  # fmt: skip
def test_takes_the_usual_containers_and_codecs(tmp_path, name, codec, audio):
    source = probe(write_video(tmp_path / name, 64, 64, frames=8, codec=codec, audio=audio), Limits())
    assert source.frames == 8
    assert source.seconds == pytest.approx(0.8, abs=0.11)
    assert bool(source.audio) == bool(audio)


def test_takes_av1(tmp_path):
    source = probe(
        in_child(write_video(tmp_path / "a.mp4", 64, 64, frames=8), tmp_path / "c.mkv", "libsvtav1"), Limits()
    )
    assert (source.codec, source.frames) == ("libdav1d", 8)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_size_is_that_of_the_upright_image(tmp_path, turn):
    source = probe(write_video(tmp_path / "a.mp4", 64, 48, frames=2, turn=turn), Limits())
    assert (source.width, source.height) == ((64, 48) if turn % 180 == 0 else (48, 64))
    assert source.turn == turn // 90


def test_a_variable_rate_keeps_its_clock(tmp_path):
    times = [0, 100, 150, 900, 2000, 2100]
    source = probe(write_video(tmp_path / "a.mp4", frames=5, times=times, clock=Fraction(1, 1000)), Limits())
    assert source.frames == 5
    assert source.seconds == pytest.approx(2.1)


def test_a_webm_without_a_length_is_counted(tmp_path):
    """What a browser records has no length in its header."""
    path = write_video(tmp_path / "a.webm", codec="libvpx", frames=12, options={"live": "1"})
    assert probe(path, Limits()).seconds == pytest.approx(1.2, abs=0.11)


@pytest.mark.fault(25)
@pytest.mark.parametrize(
    ("content", "word"),
    [(b"", "empty"), (PLAYLIST.encode(), "not an MP4"), (b"hello, this is text " * 50, "not an MP4"),
     (b"<html></html>" * 20, "not an MP4"), (b"\x89PNG\r\n\x1a\n" + bytes(500), "not an MP4"),
     (b"ffconcat version 1.0\nfile '/etc/hostname'\n", "not an MP4")],
)  # fmt: skip
def test_refuses_what_is_no_video_whatever_it_is_called(tmp_path, content, word):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert word in refused(path)


@pytest.mark.fault(25)
def test_a_playlist_behind_a_video_header_reads_nothing(tmp_path):
    """Text behind an MP4's first box reaches the MP4 demuxer only, which knows no addresses."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + PLAYLIST.encode())
    assert "index cannot be read" in refused(path)


def test_refuses_a_file_cut_off_before_its_index(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "incomplete" in refused(path)


def test_a_file_cut_off_behind_its_index_is_used_as_far_as_it_goes(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mp4", frames=40, draw=lambda k: noise[k], movflags="+faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = probe(path, Limits())
    assert 0 < source.frames < 40
    assert source.cut_short


def test_refuses_sound_without_an_image(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        sound = out.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    assert "no images" in refused(tmp_path / "a.mp4")


def test_refuses_by_length_without_decoding_it_all(tmp_path):
    hour = [k * 60_000 for k in range(61)]
    path = write_video(tmp_path / "a.mp4", frames=60, times=hour, clock=Fraction(1, 1000))
    assert "the limit is 10 minutes" in refused(path)
    assert probe(path, Limits(seconds=3600)).seconds == pytest.approx(3600, abs=1)


@pytest.mark.fault(25)
def test_refuses_8k(tmp_path):
    path = write_video(tmp_path / "a.mp4", 7680, 4320, frames=1, options={"preset": "ultrafast"})
    assert "7680 x 4320; the limit is 8.3 megapixels" in refused(path)


def test_refuses_by_size(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    assert "MB" in refused(path, Limits(bytes=100))


def test_refuses_bytes_that_only_look_like_a_container(tmp_path):
    rng = np.random.default_rng(1)
    for head in (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2", container.EBML):
        path = tmp_path / "clip.mp4"
        path.write_bytes(head + rng.bytes(5000))
        assert refused(path)


@pytest.mark.parametrize(
    ("head", "family"),
    [
        (b"\x00\x00\x00\x20ftypisom", "mov"),
        (b"\x00\x00\x00\x14ftypqt  ", "mov"),
        (b"\x00\x00\x00\x08wide\x00\x00\x01\x00mdat", "mov"),
        (b"\x1a\x45\xdf\xa3\x01\x00", "matroska"),
        (b"\x00\x00\x00\x1cftypheic", None),
        (b"\x00\x00\x00\x1cftypavif", None),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "avi"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", None),
        (b"#EXTM3U\n", None),
        (b"ftyp", None),
        (b"", None),
    ],
)
def test_family_by_the_first_bytes(head, family):
    assert container.family(head) == family
