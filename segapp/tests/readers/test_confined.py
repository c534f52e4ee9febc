"""What a stranger's file can do to the process that reads it, and to nobody else."""

import io
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from segapp import confine
from segapp.confine import ResourceLimits
from segapp.home import PROJECT
from segapp.imaging import InvalidFile, confined, decode, memory
from segapp.imaging.image_input import ImageInput
from segapp.tests.readers.making import colour, tiff


def read(file, limits):
    return confined.read("tiff", "image", file, "a.tif", ImageInput(), 50_000_000, limits)


def test_a_reader_that_needs_more_memory_than_it_may_have_is_refused():
    large = tiff(np.zeros((7000, 7000, 3), np.uint8), photometric="rgb", compression="zlib")
    assert len(large.getvalue()) < 1_000_000
    with pytest.raises(InvalidFile, match="more memory or time"):
        read(large, ResourceLimits(memory=450 << 20, processor=60, clock=60))


@pytest.mark.fault(54)
def test_a_reader_that_hangs_is_ended_by_the_clock(tmp_path):
    """A pipe that nobody writes to: the read never returns."""
    began = time.monotonic()
    reading, writing = os.pipe()
    try:
        header, body = confined._run("{}", reading, 0.2)
    finally:
        os.close(reading)
        os.close(writing)
    assert (header, body) == ({}, b"") and time.monotonic() - began < 10


@pytest.mark.fault(54)
def test_a_reader_that_computes_for_ever_is_ended_by_its_processor_time():
    code = "from segapp.confine import ResourceLimits, confine\nconfine(ResourceLimits(processor=1))\nwhile True: pass"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=confine.environment(), timeout=60, check=False)
    assert done.returncode < 0, "ended by a signal"


def test_a_crash_of_a_reader_refuses_the_file(monkeypatch):
    monkeypatch.setattr(confined.sys, "executable", "/bin/false")
    with pytest.raises(InvalidFile, match="could not be read"):
        decode.image(tiff(colour(), photometric="rgb"), "a.tif")


def test_a_confined_process_sees_no_secrets_and_writes_no_files(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    assert "secret" not in str(confine.environment())
    target = tmp_path / "written"
    code = (
        "import sys\n"
        "from segapp.confine import ResourceLimits, confine\n"
        "confine(ResourceLimits())\n"
        f"open({str(target)!r}, 'wb', buffering=0).write(b'x' * 10)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=confine.environment(), timeout=60, check=False)
    assert done.returncode != 0 and (not target.exists() or target.stat().st_size == 0)


def test_more_files_at_once_than_there_are_turns_are_told_to_come_back(monkeypatch):
    monkeypatch.setattr(confined, "PATIENCE", 0.05)
    taken = [confined._turns.acquire() for _ in range(confined.AT_ONCE)]
    try:
        with pytest.raises(memory.DecodersBusy) as busy:
            decode.image(tiff(colour(), photometric="rgb"), "a.tif")
    finally:
        for _ in taken:
            confined._turns.release()
    assert busy.value.retry_after > 0
    assert decode.image(tiff(colour(), photometric="rgb"), "a.tif").size == (128, 96)


def test_a_name_with_odd_characters_travels_and_is_refused_by_name():
    with pytest.raises(InvalidFile) as refused:
        decode.image(io.BytesIO(b"II*\0" + bytes(40)), "ä \0 'x'.tif")
    assert refused.value.file == "ä \0 'x'.tif"


def test_of_all_paths_one_file_can_be_left_to_read(tmp_path):
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    allowed.write_text("read me")
    other.write_text("not me")
    code = (
        "import pathlib, sys\nfrom segapp.confine import forbid_paths\n"
        "allowed, other = map(pathlib.Path, sys.argv[1:])\n"
        "if not forbid_paths(allowed): raise SystemExit(3)\n"
        "assert allowed.read_text() == 'read me'\n"
        "for denied in (other.read_text, allowed.unlink, lambda: allowed.rename(other)):\n"
        "    try: denied()\n"
        "    except PermissionError: continue\n"
        "    raise SystemExit(1)\n"
    )
    command = [sys.executable, "-c", code, str(allowed), str(other)]
    done = subprocess.run(command, cwd=PROJECT, env=confine.environment(), timeout=60, check=False)
    if done.returncode == 3:
        pytest.skip("this kernel has no Landlock")
    assert done.returncode == 0 and allowed.read_text() == "read me" and other.read_text() == "not me"
