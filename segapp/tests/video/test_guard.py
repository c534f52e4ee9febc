"""The first look into a stranger's file, in a process that may not use more than its share."""

import resource
import subprocess
import sys

import pytest

from segapp.pipeline.video import sandbox as clip_guard
from segapp.pipeline.video.demux import InvalidVideo, Limits
from segapp.pipeline.video.probe import probe
from segapp.pipeline.video.sandbox import TOO_MUCH, Share, examine
from segapp.tests.video.clips import write_clip


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "a.mp4", frames=5, audio="aac", turn=90)


def test_finds_what_the_probe_finds(clip):
    assert examine(clip, Limits()) == probe(clip, Limits())


def test_a_refusal_keeps_its_words(tmp_path):
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\nfile:///etc/hostname\n")
    with pytest.raises(InvalidVideo, match="not an MP4"):
        examine(path, Limits())


@pytest.mark.parametrize("share", [Share(processor=0), Share(clock=0.01)])
def test_more_than_its_share_is_refused_in_plain_words(clip, share):
    with pytest.raises(InvalidVideo) as refused:
        examine(clip, Limits(), share)
    assert str(refused.value) == TOO_MUCH


def test_too_little_memory_is_a_refusal_and_no_crash(clip):
    with pytest.raises(InvalidVideo):
        examine(clip, Limits(), Share(memory=32 << 20))


def test_a_process_that_dies_is_a_refusal(clip, monkeypatch):
    dead = subprocess.CompletedProcess([], -11, stdout="", stderr="")
    monkeypatch.setattr(clip_guard.subprocess, "run", lambda *arguments, **named: dead)
    with pytest.raises(InvalidVideo) as refused:
        examine(clip, Limits())
    assert str(refused.value) == TOO_MUCH


def test_a_confined_process_can_neither_write_nor_grow(tmp_path):
    script = f"""
from segapp.pipeline.video.sandbox import Share, confine
import signal
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
confine(Share(memory=512 << 20))
try:
    bytearray(600 << 20)
except MemoryError:
    print("memory")
try:
    Path({str(tmp_path / "x")!r}).write_text("x")
except OSError:
    print("writing")
"""
    found = subprocess.run([sys.executable, "-c", script], cwd=clip_guard.ROOT, capture_output=True, text=True)
    assert found.stdout.split() == ["memory", "writing"], found.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] != 0, "this process is not confined"
