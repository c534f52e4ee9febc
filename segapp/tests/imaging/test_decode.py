"""Files that are not what they say, and images of every kind."""

import contextlib
import io
import struct
import tempfile
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from segapp.imaging import InvalidFile, align, decode
from segapp.imaging.decode import MaskSource
from segapp.imaging.readers import pillow
from segapp.tests.imaging.drawing import photo, saved, shapes


@pytest.mark.fault(1)
@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF"])
def test_a_truncated_image_is_refused(format):
    whole = saved(photo(), format).getvalue()
    with pytest.raises(InvalidFile, match=r"cut off|no PNG"):
        decode.image(io.BytesIO(whole[: len(whole) // 2]), "half.png")


@pytest.mark.fault(1)
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.5, 0.9, -2])
def test_a_jpeg_without_its_end_is_used_as_far_as_it_goes(progressive, kept):
    file = saved(photo(256), "JPEG", progressive=progressive)
    whole, expected = file.getvalue(), np.asarray(decode.image(file, "whole.jpg"), dtype=int)
    part = whole[: int(len(whole) * kept)] if kept > 0 else whole[:kept]
    found = decode.read(io.BytesIO(part), "cut.jpg")
    assert found.notes == ("cut.jpg is cut off: it is used as far as it goes.",)
    assert not found.as_stored, "its own bytes would be refused later"
    assert np.abs(np.asarray(found.image, dtype=int)[:64] - expected[:64]).mean() < (40 if progressive else 3)


def of_scans(count: int, side: int = 256) -> bytes:
    """A progressive JPEG whose last scan comes `count` times, each 23 bytes or so and a whole pass over the image."""
    whole = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True).getvalue()
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * count + whole[-2:]


@pytest.mark.fault(54)
def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded():
    decode.image(io.BytesIO(of_scans(20)), "some.jpg")
    crafted = of_scans(100_000, side=3000)  # an hour of decoding in 2.3 MB
    began = time.process_time()
    with pytest.raises(InvalidFile, match="too many scans"):
        decode.read(io.BytesIO(crafted), "crafted.jpg")
    assert time.process_time() - began < 1


def test_what_stands_behind_a_jpeg_does_not_count_as_scans():
    """Phones append a film, whose bytes are any."""
    whole = saved(photo(256), "JPEG").getvalue()
    assert decode.image(io.BytesIO(whole + b"\xff\xda" * 500), "film.jpg").size == (256, 256)


def scans_of(content: bytes) -> int:
    """As the whole file at once shows it."""
    scans, place = 0, 2
    while scans <= pillow.MAX_SCANS and (marker := pillow.JPEG_MARKER.search(content, place)):
        code, place = content[marker.end() - 1], marker.end()
        if code == 0xD9:
            break
        scans += code == 0xDA
        if code not in (0x01, 0xD8):
            place += int.from_bytes(content[place : place + 2])
    return scans


@pytest.mark.parametrize("piece", [4, 5, 7, 64, 4096])
def test_scans_are_counted_alike_in_pieces_of_any_size(piece, monkeypatch):
    monkeypatch.setattr(pillow, "PIECE", piece)
    whole = of_scans(5, side=32)
    camera = saved(photo(48), "JPEG", progressive=True, comment=b"\xff\xda" * 300).getvalue()
    random = np.random.default_rng(0)
    noise = [bytes(random.choice([0, 1, 2, 0xD8, 0xD9, 0xDA, 0xE0, 0xFF], 400).tolist()) for _ in range(60)]
    for content in [
        whole,
        camera,
        whole + b"\xff\xda" * 50,
        *(whole[:cut] for cut in range(0, len(whole), 11)),
        *noise,
    ]:
        assert pillow._scans(io.BytesIO(content)) == scans_of(content)


def test_a_large_jpeg_is_counted_and_completed_with_little_of_it_in_memory(monkeypatch):
    monkeypatch.setattr(pillow, "PIECE", 1 << 16)
    whole = saved(photo(64), "JPEG").getvalue()
    segment = b"\xff\xfe\xff\xff" + bytes(0xFFFF - 2)
    large = whole[:2] + segment * 200 + whole[2:-2] + b"\xff" * (8 << 20)  # 13 MB of comments, 8 MB of filling, no end
    with tempfile.TemporaryFile() as file:
        file.write(large)
        tracemalloc.start()
        try:
            assert pillow._scans(file) == 1
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 1 << 20
        assert decode.read(file, "cut.jpg").notes == ("cut.jpg is cut off: it is used as far as it goes.",)


@pytest.mark.fault(54)
def test_the_frames_of_a_gif_are_not_counted():
    """Two million of them are 30 MB, and counting them takes as long as reading them all."""
    head = b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    file = io.BytesIO(head + frame * 2_000_000 + b"\x3b")
    began = time.process_time()
    assert decode.read(file, "long.gif").notes == ("long.gif is animated: its first frame is used.",)
    assert time.process_time() - began < 2


def test_a_jpeg_of_which_only_the_header_is_there_is_refused():
    whole = saved(photo(256), "JPEG").getvalue()
    with pytest.raises(InvalidFile, match=r"cut off|no PNG"):
        decode.image(io.BytesIO(whole[:100]), "head.jpg")


@pytest.mark.fault(3, 24)
@pytest.mark.parametrize(
    "content",
    [
        b"<html></html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        saved(photo(), "PPM").getvalue(),
        b"\x80\x04pickle",
    ],
    ids=["html", "svg", "ppm", "pickle"],
)
def test_other_formats_are_refused_whatever_their_name(content):
    with pytest.raises(InvalidFile, match="no PNG, JPEG, "):
        decode.image(io.BytesIO(content), "image.png")


@pytest.mark.fault(2)
def test_an_empty_file_is_refused():
    with pytest.raises(InvalidFile, match="empty"):
        decode.image(io.BytesIO(), "empty.png")


@pytest.mark.fault(5)
@pytest.mark.parametrize("side", [13_000, 20_000])
def test_too_many_pixels_are_refused_before_they_are_decoded(side):
    with pytest.raises(InvalidFile, match="megapixels"):
        decode.image(saved(Image.new("1", (side, side))), "huge.png")


@pytest.mark.fault(9)
@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_an_animation_the_first_frame_is_used_and_said(format):
    frames = [photo(64), photo(64).rotate(90)]
    found = decode.read(saved(frames[0], format, save_all=True, append_images=frames[1:]), "moving.webp")
    assert found.notes == ("moving.webp is animated: its first frame is used.",)
    assert not found.as_stored
    difference = np.abs(np.asarray(found.image, dtype=int) - np.asarray(frames[0], dtype=int))
    assert difference.mean() < 12


def test_what_stands_behind_the_end_of_a_png_is_not_kept():
    tail = b"<script>alert(1)</script>"
    image = decode.image(io.BytesIO(saved(photo(64)).getvalue() + tail), "tail.png")
    assert tail not in saved(image).getvalue()


@pytest.mark.fault(8)
@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "LA", "1"])
def test_every_colour_mode_becomes_rgb(mode):
    format = "JPEG" if mode == "CMYK" else "PNG"
    image = decode.image(saved(photo(64).convert(mode), format), "p.png")
    assert image.mode == "RGB" and image.size == (64, 64)
    assert np.asarray(image).std() > 10


@pytest.mark.fault(8)
@pytest.mark.parametrize("top", [1000, 4000, 60000])
def test_sixteen_bits_are_scaled_and_not_clipped(top):
    ramp = np.linspace(0, top, 256).astype(np.uint16)[None].repeat(8, 0)
    found = np.asarray(decode.image(saved(Image.fromarray(ramp)), "deep.png"))[0, :, 0]
    assert len(np.unique(found)) > 200, "a clipped ramp is flat"
    assert (np.diff(found.astype(int)) >= 0).all() and found[-1] > 220


@pytest.mark.parametrize("turn", [1, 3, 5, 6, 7, 8])
def test_a_turned_photo_stands_upright_and_its_mask_with_it(turn):
    raw = shapes([0, 255]).crop((0, 0, 96, 60))
    exif = Image.Exif()
    exif[decode.ORIENTATION] = turn
    image, found = decode.image_and_turn(saved(raw.convert("RGB"), exif=exif), "turned.png")
    assert found == turn
    mask = align.like(MaskSource("index", np.asarray(raw)), image, found)
    assert mask.values.shape == (image.height, image.width)
    if turn != 3:  # upside down has the same size: the mask is taken as it is
        assert np.array_equal(mask.values, np.asarray(image)[..., 0])


@pytest.mark.fault(6)
@pytest.mark.parametrize("size", [(1, 1), (31, 4000)])
def test_odd_sizes_are_welcome(size):
    assert decode.image(saved(Image.new("RGB", size)), "odd.png").size == size


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xef\xbb\xbf\n <!doctype html>", "a web page"),
        (b"%PDF-1.7", "a PDF"),
    ],
    ids=["html", "pdf"],
)
def test_what_it_is_instead_is_said(content, words):
    with pytest.raises(InvalidFile, match=words):
        decode.image(io.BytesIO(content), "image.png")


@pytest.mark.parametrize("broken", range(12))
def test_random_damage_is_refused_or_decoded_but_never_an_error(broken):
    """Every parser raises its own kinds; none may come through as a failure of the server."""
    random = np.random.default_rng(broken)
    for format in ("PNG", "JPEG", "WEBP"):
        content = bytearray(saved(photo(96), format).getvalue())
        for at in random.integers(0, len(content), 1 + 3 * broken):
            content[at] = random.integers(0, 256)
        for read in (decode.image, decode.mask):
            with contextlib.suppress(InvalidFile):
                read(io.BytesIO(bytes(content)), "damaged")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_does_not_matter():
    content = saved(photo(64), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(30))
    assert decode.image(content, "p.jpg").size == (64, 64)


def test_a_photo_with_a_second_image_inside_is_the_first_one():
    """Phones write JPEGs with a depth map or a small copy behind; that is no animation."""
    two = saved(photo(96), "MPO", save_all=True, append_images=[photo(96).rotate(90)])
    assert Image.open(two).n_frames == 2
    assert decode.image(two, "phone.jpg").size == (96, 96)


def test_comments_and_profiles_are_not_kept():
    secret = b"51 degrees north"
    file = saved(photo(64), "JPEG", comment=secret, icc_profile=secret)
    image = decode.image(file, "p.jpg")
    for format in ("PNG", "JPEG", "WEBP"):
        assert secret not in saved(image, format).getvalue()


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert np.asarray(decode.image(saved(clear), "p.png")).min() == 255


def test_inverted_cmyk_keeps_its_colours():
    red = Image.new("RGB", (32, 32), (220, 30, 30)).convert("CMYK")
    found = np.asarray(decode.image(saved(red, "JPEG", quality=95), "p.jpg")).mean(axis=(0, 1))
    assert found[0] > 180 and found[1:].max() < 90
