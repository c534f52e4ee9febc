"""Windows of a large TIFF are decoded in a process of its own, which ends alone and gives what decoding here gives."""

import io
import signal
import sys
from contextlib import closing

import numpy as np
import psutil
import pytest
import tifffile

from segapp.confine import ResourceLimits
from segapp.imaging import confined_windows
from segapp.imaging.confined_windows import ConfinedWindows
from segapp.imaging.image_input import ImageInput, parse
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.readers.windows import Windows
from segapp.tests.readers.making import colour, grey, tiff

KINDS = [
    {"tile": (32, 48)},
    {"tile": (32, 48), "compression": "zlib", "predictor": True},
    {"tile": (32, 48), "compression": "jpeg"},
    {"tile": (32, 48), "compression": "jpeg2000"},
    {"tile": (32, 48), "compression": "webp"},
    {"tile": (32, 48), "compression": "lzma"},
    {"tile": (32, 48), "compression": "packbits"},
    {"rowsperstrip": 7, "compression": "zstd"},
    {"rowsperstrip": 7, "compression": "lzw"},
]


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_it_gives_what_reading_in_this_process_gives(tmp_path, options):
    content = tiff(colour(150, 170), photometric="rgb", **options).getvalue()
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    here = Windows(io.BytesIO(content), "a.tif", ImageInput())
    with open(path, "rb") as file, closing(ConfinedWindows(file, "a.tif", ImageInput())) as apart:
        assert (apart.height, apart.width, apart.notes) == (here.height, here.width, tuple(here.notes))
        for place in ((31, 47, 2, 2), (0, 0, 150, 170), (100, 130, 50, 40), (0, 169, 150, 1)):
            assert np.array_equal(apart.read(*place), here.read(*place))


def test_what_the_file_says_of_itself_comes_along():
    values = (grey(160, 160).astype(np.uint16) * 4 + 1000)[..., None].repeat(3, axis=-1)
    place = [(33550, "d", 3, (0.5, 0.5, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 100.0, 200.0, 0.0), True)]
    file = tiff(values, photometric="rgb", tile=(32, 32), extratags=place)
    here = Windows(file, "a.tif", parse("3,2,1"))
    with closing(ConfinedWindows(file, "a.tif", parse("3,2,1"))) as apart:
        assert {str(key): list(value) for key, value in here.geo.items()} == apart.geo and apart.geo
        assert apart.pixel_size == here.pixel_size
        assert np.array_equal(apart.read(10, 20, 90, 80), here.read(10, 20, 90, 80))


def test_a_refusal_keeps_its_words():
    with pytest.raises(InvalidFile, match=r"one\.tif: Its file cannot be read in parts"):
        ConfinedWindows(tiff(np.zeros((5000, 3000, 3), np.uint8), photometric="rgb"), "one.tif", ImageInput())
    content = bytearray(tiff(colour(96, 96), photometric="rgb", tile=(32, 32), compression="zlib").getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as tif:
        at = tif.pages[0].dataoffsets[4]
    content[at : at + 8] = b"\xff" * 8
    with closing(ConfinedWindows(io.BytesIO(bytes(content)), "a.tif", ImageInput())) as image:
        assert np.array_equal(image.read(0, 0, 32, 32), colour(96, 96)[:32, :32])
        with pytest.raises(InvalidFile, match=r"a\.tif: A part of it is damaged"):
            image.read(0, 0, 96, 96)
        assert np.array_equal(image.read(0, 0, 32, 32), colour(96, 96)[:32, :32]), "the next window is read"


@pytest.mark.parametrize(
    "said",
    [
        ".",
        "[]",
        '{"height": 10}',
        '{"height": 99999999, "width": 99999999, "notes": [], "geo": {}, "pixel_size": {}}',
        '{"height": 0, "width": 9, "notes": [], "geo": {}, "pixel_size": {}}',
        '{"height": 9, "width": 9, "notes": [], "geo": 7, "pixel_size": {}}',
        '{"refused": 5}',
    ],
)
def test_a_process_that_a_file_has_taken_over_is_not_believed(monkeypatch, said):
    code = f"import socket; s = socket.socket(fileno=0); s.recv(9999); s.send({said!r}.encode()); s.recv(1)"
    monkeypatch.setattr(confined_windows, "COMMAND", [sys.executable, "-c", code])
    with pytest.raises(InvalidFile, match=r"a\.tif: It could not be read"):
        ConfinedWindows(tiff(colour(96, 96), tile=(32, 32)), "a.tif", ImageInput())


@pytest.mark.fault(54)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_decoder_that_dies_or_hangs_is_a_refusal(monkeypatch, number):
    with closing(ConfinedWindows(tiff(colour(96, 96), tile=(32, 32)), "a.tif", ImageInput())) as image:
        image._process.send_signal(number)
        image._socket.settimeout(0.2)
        with pytest.raises(InvalidFile, match=r"a\.tif: It could not be read"):
            image.read(0, 0, 32, 32)
    assert image._process.returncode == -signal.SIGKILL


def test_a_decoder_that_needs_more_memory_than_it_may_have_is_a_refusal(monkeypatch):
    monkeypatch.setattr(confined_windows, "RESOURCES", ResourceLimits(memory=16 << 20))
    file = tiff(np.ones((4096, 4096, 3), np.uint16), photometric="rgb", tile=(2048, 2048))  # it looks at some at once
    with pytest.raises(InvalidFile, match=r"large\.tif: (It could not be read|A part of it is damaged)"):
        ConfinedWindows(file, "large.tif", ImageInput())


def test_it_sees_no_secrets_and_ends_when_it_is_closed(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    image = ConfinedWindows(tiff(colour(96, 96), tile=(32, 32)), "a.tif", ImageInput())
    running = psutil.Process(image._process.pid)
    assert "DATABASE_URL" not in running.environ()
    assert {running.rlimit(psutil.RLIMIT_FSIZE), running.rlimit(psutil.RLIMIT_CORE)} == {(0, 0)}
    image.close()
    assert not running.is_running()
