"""A video's sound is read in a process of its own, which ends alone and whose answers are not believed."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from segapp.confine import ResourceLimits, environment
from segapp.home import PROJECT
from segapp.pipeline.video import confined_sound, mux
from segapp.pipeline.video import process as pipeline
from segapp.pipeline.video.confined_sound import (
    DESCRIBED,
    END,
    MAX_EXTRADATA,
    MAX_PACKET,
    PACKET,
    TIMES,
    TRACK,
    SoundFailed,
    SoundProcess,
)
from segapp.pipeline.video.demux import Limits, opened
from segapp.pipeline.video.job import Cancelled, Verdict
from segapp.pipeline.video.process import process, segment_file
from segapp.pipeline.video.sound import SoundPacket, Track, sound_of
from segapp.tests.video.videos import EACH, bright_network, write_video

LOST = ["The sound could not be copied into the result."]


def nothing() -> None:
    pass


def received(path: Path, begin: float = 0.0, until: float = 60.0) -> tuple[Track, list[SoundPacket]]:
    with closing(SoundProcess(nothing)) as sound:
        track = sound.track(path, begin, until)
        return track, list(sound.packets(track))


def long_video(folder: Path) -> Path:
    """Twenty seconds: the sound is several times what a socket holds."""
    return write_video(folder / "a.mp4", frames=40, rate=2, audio="aac")


def packets_of(path: Path) -> list[tuple[int, int, bytes]]:
    with av.open(str(path)) as container:
        audio = container.streams.audio[0]
        return [(p.pts or 0, p.duration or 0, bytes(p)) for p in container.demux(audio) if p.size]


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


# --- what it gives ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "audio"),
    [("a.mp4", "libx264", "aac"), ("a.mkv", "libx264", "aac"), ("a.avi", "mpeg4", "aac"),
     ("a.webm", "libvpx", "libopus"), ("a.mov", "libx264", "pcm_s16le"), ("a.mkv", "libx264", "flac"),
     ("a.mp4", "libx264", "libmp3lame")],
)  # fmt: skip
def test_it_gives_what_reading_in_this_process_gives(tmp_path, name, codec, audio):
    path = write_video(tmp_path / name, frames=20, codec=codec, audio=audio)
    for begin, until in ((0.0, 60.0), (0.5, 1.2)):
        with opened(path) as container:
            track, packets = sound_of(container, begin, until)
            here = track, list(packets)
        assert received(path, begin, until) == here and len(here[1]) > 10


def test_aac_keeps_its_bytes_and_times(tmp_path):
    original = write_video(tmp_path / "a.mp4", frames=24, audio="aac")
    source = packets_of(original)
    track, packets = received(original)
    assert [(p.pts, p.duration, p.data) for p in packets] == source
    with av.open(str(original)) as container:
        assert track.extradata == container.streams.audio[0].codec_context.extradata
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits())
    assert done.notes == []
    for kind in ("overlay", "mask"):
        result = packets_of(tmp_path / "job" / f"{kind}.mp4")
        assert [data for _, _, data in result] == [data for _, _, data in source[: len(result)]] and len(result) > 100
        assert [pts for pts, _, _ in result] == [pts for pts, _, _ in source[: len(result)]]


def test_more_than_a_socket_holds_waits_in_the_process_until_it_is_taken(tmp_path):
    path = long_video(tmp_path)
    with closing(SoundProcess(nothing)) as sound:
        track = sound.track(path, 0.0, 60.0)
        packets = sound.packets(track)
        first = next(packets)
        time.sleep(0.5)
        assert sound._process.poll() is None
        rest = list(packets)
    assert [(p.pts, p.duration, p.data) for p in [first, *rest]] == packets_of(path)


def with_headers(path: Path, plain: Path) -> Path:
    """An AVI file of a video with AAC whose frames have ADTS headers, as some recorders write it.

    The muxer would cut them off, so it is told that the sound is AC-3, whose frames are longer, and the name of the
    codec is replaced afterwards.
    """
    headed = plain.with_suffix(".aac")
    with av.open(str(headed), "w", format="adts") as out, av.open(str(plain)) as container:
        source: Any = container.streams.audio[0]
        stream: Any = out.add_stream_from_template(source)
        packet: Any
        for packet in container.demux(source):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    with av.open(str(path), "w") as out, av.open(str(plain)) as one, av.open(str(headed)) as other:
        target: Any = out.add_stream_from_template(one.streams.video[0])
        sound: Any = out.add_stream("ac3", rate=48000, layout="mono")
        for packet in one.demux(one.streams.video[0]):
            if packet.size:
                packet.stream = target
                out.mux(packet)
        for number, packet in enumerate(p for p in other.demux(other.streams.audio[0]) if p.size):
            packet.stream, packet.time_base = sound, Fraction(1536, 48000)
            packet.pts = packet.dts = number
            packet.duration = 1
            out.mux(packet)
    content = bytearray(path.read_bytes())
    tag = content.index(b"strf", content.index(b"auds")) + 8
    assert content[tag : tag + 2] == b"\x00\x20"
    content[tag : tag + 2] = b"\xff\x00"
    path.write_bytes(content)
    return path


def test_headers_of_aac_are_cut_off_before_it_is_sent(tmp_path):
    plain = write_video(tmp_path / "plain.avi", frames=20, codec="mpeg4", audio="aac")
    path = with_headers(tmp_path / "a.avi", plain)
    assert packets_of(path)[0][2][:1] == b"\xff"
    track, packets = received(path)
    assert [p.data for p in packets] == [data for _, _, data in packets_of(plain)]
    assert track.extradata
    done = process(bright_network(), path, tmp_path / "job", EACH, Limits())
    assert (done.source.audio, done.notes) == ("aac", [])
    result = packets_of(tmp_path / "job" / "overlay.mp4")
    assert [data for _, _, data in result] == [p.data for p in packets[: len(result)]] and len(result) > 50
    with av.open(str(tmp_path / "job" / "overlay.mp4")) as container:
        assert len(list(container.decode(audio=0))) > 50


def test_a_packet_larger_than_aac_can_be_is_not_sent(path, monkeypatch):
    sizes: list[int] = []
    track = Track(48000, 1, Fraction(1, 48000), 0, b"")
    large = [SoundPacket(0, 1024, bytes(MAX_PACKET)), SoundPacket(1024, 1024, bytes(MAX_PACKET + 1))]
    monkeypatch.setattr(confined_sound, "opened", nullcontext)
    monkeypatch.setattr(confined_sound, "sound_of", lambda *_: (track, iter(large)))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        with pytest.raises(ValueError, match="too large"):
            confined_sound.send_all(ours, path, 0.0, 60.0)
        ours.shutdown(socket.SHUT_WR)
        while message := theirs.recv(2 * MAX_PACKET):
            sizes.append(len(message))
    assert sizes == [1 + TRACK.size, 1 + TIMES.size + MAX_PACKET]


# --- what ends it -----------------------------------------------------------------------------------------


def test_a_process_that_dies_midway_is_a_failure(tmp_path):
    path = long_video(tmp_path)
    with closing(SoundProcess(nothing)) as sound:
        packets = sound.packets(sound.track(path, 0.0, 60.0))
        next(packets)
        sound._process.send_signal(signal.SIGKILL)
        with pytest.raises(SoundFailed):
            list(packets)


@pytest.mark.fault(54)
def test_a_process_that_hangs_is_a_failure_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(confined_sound, "SECONDS", 0.3)
    monkeypatch.setattr(confined_sound, "LOOK_SECONDS", 0.1)
    looks: list[None] = []
    path = write_video(tmp_path / "a.mp4", frames=5, audio="aac")
    with closing(SoundProcess(lambda: looks.append(None))) as sound:
        sound._process.send_signal(signal.SIGSTOP)
        with pytest.raises(SoundFailed, match="stuck"):
            sound.track(path, 0.0, 0.1)
    assert sound._process.returncode == -signal.SIGKILL
    assert len(looks) >= 2


def test_a_process_that_needs_more_memory_than_it_may_have_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(confined_sound, "RESOURCES", ResourceLimits(memory=16 << 20))
    path = write_video(tmp_path / "a.webm", frames=5, codec="libvpx", audio="libopus")
    with pytest.raises(SoundFailed):
        received(path)


def test_what_is_no_video_and_what_has_no_sound_are_failures(tmp_path):
    (tmp_path / "a.mp4").write_text("#EXTM3U\nfile:///etc/hostname\n")
    with pytest.raises(SoundFailed):
        received(tmp_path / "a.mp4")
    with pytest.raises(SoundFailed):
        received(write_video(tmp_path / "b.mp4", frames=5))


def test_it_sees_no_secrets_and_may_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    path = long_video(tmp_path)
    with closing(SoundProcess(nothing)) as sound:
        next(sound.packets(sound.track(path, 0.0, 60.0)))
        running = psutil.Process(sound._process.pid)
        assert "DATABASE_URL" not in running.environ()
        limits = {running.rlimit(psutil.RLIMIT_FSIZE), running.rlimit(psutil.RLIMIT_CORE)}
        assert limits == {(0, 0)}
        assert running.rlimit(psutil.RLIMIT_AS) == (2 << 30, 2 << 30)
    assert not running.is_running()


def test_while_it_reads_it_can_open_no_other_file(tmp_path, monkeypatch):
    code = (
        "from fractions import Fraction\n"
        "from segapp.pipeline.video import confined_sound as module\n"
        "def tried(*_):\n"
        "    try:\n"
        "        open('manage.py').close()\n"
        "        found = b'opened'\n"
        "    except PermissionError:\n"
        "        found = b'denied'\n"
        "    return module.Track(48000, 1, Fraction(1, 48000), 0, b''), iter([module.SoundPacket(0, 1, found)])\n"
        "module.sound_of = tried\n"
        "module.main()\n"
    )
    check = "from segapp.confine import forbid_paths; raise SystemExit(not forbid_paths())"
    if subprocess.run([sys.executable, "-c", check], cwd=PROJECT, check=False).returncode:
        pytest.skip("this kernel has no Landlock")
    monkeypatch.setattr(confined_sound, "COMMAND", [sys.executable, "-c", code])
    path = write_video(tmp_path / "a.mp4", frames=5, audio="aac")
    assert received(path)[1] == [SoundPacket(0, 1, b"denied")]


def test_it_ends_with_the_process_that_started_it(tmp_path):
    path = long_video(tmp_path)
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from segapp.pipeline.video.confined_sound import SoundProcess\n"
        "sound = SoundProcess(lambda: None)\n"
        f"sound.track(Path({str(path)!r}), 0.0, 60.0)\n"
        "print(sound._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, env=environment(), stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs([child], timeout=10)
    assert not alive


# --- answers that are not believed ------------------------------------------------------------------------


def described(rate=48000, channels=1, numerator=1, denominator=48000, bits=64000, extradata=b"\x11\x88") -> bytes:
    return DESCRIBED + TRACK.pack(rate, channels, numerator, denominator, bits) + extradata


def packet(pts: int, duration: int = 1024, data: bytes = b"\x01\x18\x20\x07") -> bytes:
    return PACKET + TIMES.pack(pts, duration) + data


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """Have a process that sends certain messages in place of the one that reads sound."""

    def answer(*messages: bytes, then: str = "time.sleep(60)") -> None:
        script = tmp_path / "answers.py"
        script.write_text(
            "import socket, time\n"
            "parent = socket.socket(fileno=0)\n"
            "parent.recv(1 << 16)\n"
            f"for message in {[*messages]!r}:\n"
            "    parent.send(message)\n"
            f"{then}\n"
        )
        monkeypatch.setattr(confined_sound, "COMMAND", [sys.executable, str(script)])

    return answer


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(1000))
    return path


def test_an_answer_in_order_is_taken(path, answering):
    answering(described(), packet(-1024), packet(0), packet(1024, 0, bytes(MAX_PACKET)), END)
    track, packets = received(path, until=2.0)
    assert track == Track(48000, 1, Fraction(1, 48000), 64000, b"\x11\x88")
    assert [(p.pts, p.duration, len(p.data)) for p in packets] == [
        (-1024, 1024, 4),
        (0, 1024, 4),
        (1024, 0, MAX_PACKET),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        b"?",
        b"D",
        END,
        packet(0),
        described()[: TRACK.size],
        described(rate=0),
        described(rate=10**6),
        described(channels=0),
        described(channels=65),
        described(numerator=0),
        described(denominator=0),
        described(numerator=2, denominator=1),
        described(denominator=1 << 31),
        described(bits=1 << 62),
        described(extradata=bytes(MAX_EXTRADATA + 1)),
        described(extradata=bytes(150_000)),
    ],
)
def test_a_description_that_no_sound_has_is_a_failure(path, answering, answer):
    answering(answer)
    with closing(SoundProcess(nothing)) as sound, pytest.raises(SoundFailed):
        sound.track(path, 0.0, 2.0)
    assert sound._process.returncode is not None


@pytest.mark.parametrize(
    "answers",
    [
        [b"?" + bytes(20)],
        [described()],
        [PACKET],
        [packet(0)[:10]],
        [END + b"more"],
        [packet(0), packet(1024), packet(512)],
        [packet(0), packet(0)],
        [packet(-(1 << 63))],
        [packet((1 << 63) - 1)],
        [packet(48000 * 63)],
        [packet(0, -1)],
        [packet(0, 1 << 40)],
        [packet(0, 1024, b"")],
        [packet(0, 1024, bytes(MAX_PACKET + 1))],
        [packet(0, 1024, bytes(150_000))],
        [packet(0, 1024, b"\xff\xf1\x4c\x40\x02\x1f\xfc\x21")],
    ],
)
def test_a_packet_that_no_sound_has_is_a_failure(path, answering, answers):
    answering(described(), *answers)
    with closing(SoundProcess(nothing)) as sound:
        track = sound.track(path, 0.0, 2.0)
        with pytest.raises(SoundFailed):
            list(sound.packets(track))


def test_an_end_without_a_word_is_a_failure(path, answering):
    answering(described(), packet(0), then="")
    with pytest.raises(SoundFailed):
        received(path, until=2.0)


def test_more_packets_or_bytes_than_the_video_can_have_are_a_failure(path, monkeypatch, answering):
    endless = "n = 0\nwhile True:\n    parent.send(b'P' + n.to_bytes(8, 'little') + bytes(8 + SIZE))\n    n += 1"
    monkeypatch.setattr(confined_sound, "MARGIN", 1.0)
    for size in (1, 4000):
        answering(described(), then=endless.replace("SIZE", str(size)))
        with pytest.raises(SoundFailed, match="more sound"):
            received(path, until=0.5)


# --- whole videos -----------------------------------------------------------------------------------------


def has_sound(path: Path) -> bool:
    with av.open(str(path)) as container:
        assert sum(1 for p in container.demux(video=0) if p.size) == 40
        return bool(container.streams.audio)


def test_a_process_that_dies_midway_costs_the_sound_only_and_it_is_said(tmp_path, monkeypatch):
    original = long_video(tmp_path)
    taken = SoundProcess.packets

    def dies(self, track):
        for number, sent in enumerate(taken(self, track)):
            yield sent
            if number == 5:
                self._process.send_signal(signal.SIGKILL)

    monkeypatch.setattr(SoundProcess, "packets", dies)
    before = children()
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits())
    assert (done.frames, done.notes) == (40, LOST)
    assert not has_sound(tmp_path / "job" / "overlay.mp4") and not has_sound(tmp_path / "job" / "mask.mp4")
    assert children() <= before


def test_hostile_answers_cost_the_sound_only_and_it_is_said(tmp_path, answering):
    original = long_video(tmp_path)
    answering(described(), packet(0), packet(1024), packet(5))
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits())
    assert done.notes == LOST
    assert not has_sound(tmp_path / "job" / "overlay.mp4")


def test_no_process_at_all_costs_the_sound_only(tmp_path, monkeypatch):
    original = long_video(tmp_path)
    monkeypatch.setattr(confined_sound, "COMMAND", ["/nonexistent"])
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits())
    assert done.notes == LOST
    assert not has_sound(tmp_path / "job" / "overlay.mp4")


def test_packets_that_the_muxer_refuses_cost_the_sound_only(tmp_path, monkeypatch):
    original = long_video(tmp_path)
    falling = [SoundPacket(pts, 1024, b"\x01\x18\x20\x07") for pts in (5000, 10)]
    monkeypatch.setattr(SoundProcess, "packets", lambda self, track: iter(falling))
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits())
    assert done.notes == LOST
    assert not has_sound(tmp_path / "job" / "overlay.mp4")


@pytest.mark.parametrize("hangs", [False, True])
def test_a_join_that_is_stopped_leaves_no_process(tmp_path, monkeypatch, hangs):
    """Cancelled while packets come, and while none come."""
    monkeypatch.setattr(pipeline, "LOOK_SECONDS", 0)
    monkeypatch.setattr(confined_sound, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(mux, "LOOK_EVERY", 50)
    original = long_video(tmp_path)
    begun: list[Any] = []
    start = SoundProcess.__init__

    def started(self, look) -> None:
        start(self, look)
        begun.append(self._process)
        if hangs:
            self._process.send_signal(signal.SIGSTOP)

    def watch(report) -> Verdict:
        return Verdict.DISCARD if report.phase == "joining" and begun else Verdict.GO

    monkeypatch.setattr(SoundProcess, "__init__", started)
    before = children()
    with pytest.raises(Cancelled):
        process(bright_network(), original, tmp_path / "job", EACH, Limits(), watch=watch)
    assert [process.returncode for process in begun] == [-signal.SIGKILL]
    assert children() <= before
    assert not list((tmp_path / "job").glob("*.part"))


@pytest.mark.parametrize(("name", "codec", "audio"), [("a.mp4", "libx264", "aac"), ("a.webm", "libvpx", "libopus")])
def test_the_worker_itself_never_opens_the_original(tmp_path, monkeypatch, name, codec, audio):
    original = write_video(tmp_path / name, frames=12, codec=codec, audio=audio)
    (tmp_path / "out").mkdir()
    seen: list[str] = []
    really = av.open

    def spied(file, *arguments, **options):
        seen.append(str(file))
        return really(file, *arguments, **options)

    monkeypatch.setattr(av, "open", spied)
    result = segment_file(bright_network(), original, tmp_path / "out")
    assert result["notes"] == [] and packets_of(Path(result["overlay"]))
    assert len(seen) > 4
    assert not [file for file in seen if file.endswith(name)]
