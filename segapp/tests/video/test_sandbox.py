"""An untrusted file is probed in a process with limited resources."""

import resource
import subprocess
import sys

import pytest

from segapp.pipeline.video import sandbox
from segapp.pipeline.video.demux import InvalidVideo, Limits
from segapp.pipeline.video.probe import probe
from segapp.pipeline.video.sandbox import TOO_MUCH, ResourceLimits, examine
from segapp.tests.video.videos import write_video


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "a.mp4", frames=5, audio="aac", turn=90)


def test_finds_what_the_probe_finds(video):
    assert examine(video, Limits()) == probe(video, Limits())


def test_a_refusal_keeps_its_words(tmp_path):
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\nfile:///etc/hostname\n")
    with pytest.raises(InvalidVideo, match="not an MP4"):
        examine(path, Limits())


@pytest.mark.fault(54)
@pytest.mark.parametrize("resources", [ResourceLimits(processor=0), ResourceLimits(clock=0.01)])
def test_more_than_its_resources_is_refused_in_plain_words(video, resources):
    with pytest.raises(InvalidVideo) as refused:
        examine(video, Limits(), resources)
    assert str(refused.value) == TOO_MUCH


def test_too_little_memory_is_a_refusal_and_no_crash(video):
    with pytest.raises(InvalidVideo):
        examine(video, Limits(), ResourceLimits(memory=32 << 20))


def test_a_process_that_dies_is_a_refusal(video, monkeypatch):
    dead = subprocess.CompletedProcess([], -11, stdout="", stderr="")
    monkeypatch.setattr(sandbox.subprocess, "run", lambda *arguments, **named: dead)
    with pytest.raises(InvalidVideo) as refused:
        examine(video, Limits())
    assert str(refused.value) == TOO_MUCH


def test_a_confined_process_can_neither_write_nor_grow(tmp_path):
    script = f"""
from segapp.pipeline.video.sandbox import ResourceLimits, confine
import signal
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
confine(ResourceLimits(memory=512 << 20))
try:
    bytearray(600 << 20)
except MemoryError:
    print("memory")
try:
    Path({str(tmp_path / "x")!r}).write_text("x")
except OSError:
    print("writing")
"""
    found = subprocess.run([sys.executable, "-c", script], cwd=sandbox.ROOT, capture_output=True, text=True)
    assert found.stdout.split() == ["memory", "writing"], found.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] != 0, "this process is not confined"


def test_the_probe_reads_its_file_and_no_other(video, monkeypatch):
    check = "from segapp.confine import forbid_paths; raise SystemExit(not forbid_paths())"
    if subprocess.run([sys.executable, "-c", check], cwd=sandbox.ROOT).returncode:
        pytest.skip("this kernel has no Landlock")
    curious = f"""
from segapp.pipeline.video import sandbox
from segapp.pipeline.video.demux import InvalidVideo
def probe(path, limits):
    path.read_bytes()
    try:
        open({str(video.with_name("other"))!r}).read()
    except OSError as error:
        raise InvalidVideo(type(error).__name__)
sandbox.probe = probe
sandbox.main()
"""
    video.with_name("other").write_text("x")
    monkeypatch.setattr(sandbox, "COMMAND", [sys.executable, "-c", curious])
    with pytest.raises(InvalidVideo, match="PermissionError"):
        examine(video, Limits())
